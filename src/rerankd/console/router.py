"""Pages and actions of the console: sign-in, CSRF check, errors as pages, and every page as JSON too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request

from rerankd._common.logging import logger
from rerankd.console.pages import PageRenderer
from rerankd.console.visitor import Visitor, is_same_token, visitor_of
from rerankd.errors import (
    AuthenticationError,
    CrossOriginError,
    InvalidRequestError,
    PayloadTooLargeError,
    RerankdError,
)
from rerankd.feedback.cases import replace_surrogates
from rerankd.server.auth.sessions import COOKIE
from rerankd.server.context import current_request
from rerankd.server.paths import CONSOLE
from rerankd.server.request_parsing import validated
from rerankd.server.responses import json_response
from rerankd.server.service import Service

CSRF_FIELD = "csrf_token"
CSRF_HEADER = "x-csrf-token"
MAX_FIELDS = 20_000
_log = logger(__name__)

Model = TypeVar("Model", bound=BaseModel)
PageHandler = Callable[[Request, Visitor], Awaitable[Mapping[str, Any] | Response]]
ActionHandler = Callable[[Request, Visitor, FormData], Awaitable[Mapping[str, Any] | Response]]


class ConsoleRouter:
    """Registers the pages and actions of one part of the console.

    Args:
        service: the instance.
        renderer: renders the templates.

    Example:
        >>> router = ConsoleRouter(service, renderer)  # doctest: +SKIP
        >>> router.page("/traces", "traces.html", list_traces)  # doctest: +SKIP
        >>> router.action("/traces/{number}/flag", "traces.html", flag_trace)  # doctest: +SKIP
    """

    def __init__(self, service: Service, renderer: PageRenderer) -> None:
        self._service, self._renderer = service, renderer
        self.routes = APIRouter(include_in_schema=False)

    def page(self, path: str, template: str, handler: PageHandler) -> None:
        """Serve `GET /console{path}` as HTML and `GET /console{path}.json` as JSON, from the same content.

        Args:
            path: path below `/console`, with parameters in braces.
            template: template of the page; its `data` is what the handler returns.
            handler: returns content that JSON can hold, or a response.
        """

        async def serve(request: Request) -> Response:
            return await self._serve(request, template, lambda visitor: handler(request, visitor), is_json=False)

        async def serve_json(request: Request) -> Response:
            return await self._serve(request, template, lambda visitor: handler(request, visitor), is_json=True)

        # The JSON first: a path that ends with a parameter would take ".json" for a part of it.
        self.routes.add_api_route(f"{CONSOLE}{path}.json", serve_json, methods=["GET"])
        self.routes.add_api_route(f"{CONSOLE}{path}", serve, methods=["GET"])

    def action(self, path: str, template: str, handler: ActionHandler) -> None:
        """Serve `POST /console{path}`: a form of the visitor's own session.

        Args:
            path: path below `/console`, with parameters in braces.
            template: template for content that the handler returns; unused if it returns a response, as it should
                after a change: `redirect` to the page that shows it.
            handler: takes the form.
        """

        async def serve(request: Request) -> Response:
            async def handle(visitor: Visitor) -> Mapping[str, Any] | Response:
                form = await self._form(request)
                self._check_token(request, visitor, form)
                return await handler(request, visitor, form)

            return await self._serve(request, template, handle, is_json=wants_json(request))

        self.routes.add_api_route(f"{CONSOLE}{path}", serve, methods=["POST"])

    async def _serve(
        self,
        request: Request,
        template: str,
        handle: Callable[[Visitor], Awaitable[Mapping[str, Any] | Response]],
        *,
        is_json: bool,
    ) -> Response:
        cookie = self._new_session(is_json=is_json)
        visitor = visitor_of(request)
        if visitor.key is None and self._service.keys.required:
            return self._ask_for_key(request, is_json=is_json)
        try:
            content = await handle(visitor)
            if isinstance(content, Response):
                response = content
            elif is_json:  # texts of traces may hold lone surrogates, which JSON cannot
                response = json_response(await asyncio.to_thread(replace_surrogates, dict(content)))
            else:  # a page of many documents takes a while, in which the event loop serves others
                response = await asyncio.to_thread(self._renderer.render, request, visitor, template, content)
        except RerankdError as error:
            if is_json:
                raise
            response = self.error_page(request, visitor, error)
        if cookie:
            set_session(request, response, cookie, self._service.sessions.seconds)
        return response

    def _new_session(self, *, is_json: bool) -> str:
        """Start a session for a browser that has none, where no key is required; return its cookie, empty for none."""
        context = current_request.get()
        if is_json or context.session is not None or self._service.keys.required:
            return ""
        cookie = self._service.sessions.issue(None)
        found = self._service.sessions.read(cookie, self._service.keys)
        context.session = found[0] if found else None
        return cookie

    def _ask_for_key(self, request: Request, *, is_json: bool) -> Response:
        """Send the browser to the page where a key is asked for."""
        if is_json or request.method != "GET":
            raise AuthenticationError("Sign in to the console, or send an API key.", hint=f"Open {CONSOLE}/sign-in.")
        address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return redirect(request, f"/sign-in?next={quote(address, safe='')}")

    async def _form(self, request: Request) -> FormData:
        most = int(self._service.settings.max_body_mb * 1_000_000)
        return await read_form(request, max_fields=MAX_FIELDS, max_files=10, max_part_size=most)

    def _check_token(self, request: Request, visitor: Visitor, form: FormData) -> None:
        if current_request.get().session is None and visitor.key is not None:
            return  # a key in the headers: nothing that a browser sends by itself
        sent = request.headers.get(CSRF_HEADER) or str(form.get(CSRF_FIELD, ""))
        if not is_same_token(sent, visitor.csrf_token):
            raise CrossOriginError("The form is not from this session.", hint="Load the page again and repeat it.")

    def response(
        self, request: Request, visitor: Visitor, template: str, data: Mapping[str, Any], status: int
    ) -> Response:
        """Return a page with another status than 200, such as a form in which something is wrong.

        Args:
            request: the request.
            visitor: who sees the page.
            template: template of the page.
            data: its content.
            status: the status.
        """
        return self._renderer.render(request, visitor, template, data, status)

    def error_page(self, request: Request, visitor: Visitor, error: RerankdError) -> Response:
        """Return the page of an error."""
        context = current_request.get()
        context.fields.setdefault("error", error.code)
        data = {"message": error.message, "hint": error.hint, "code": error.code, "request_id": context.request_id}
        template = "_error.html" if "hx-request" in request.headers else "error.html"
        return self._renderer.render(request, visitor, template, data, error.status)


async def read_form(request: Request, **limits: int) -> FormData:
    """Return the form of a request.

    Args:
        request: the request.
        limits: limits of `Request.form`.

    Raises:
        InvalidRequestError: it cannot be read, or is larger than the limits.
    """
    try:
        return await request.form(**limits)
    except HTTPException as error:  # what the parser of forms raises
        raise InvalidRequestError(f"The form cannot be read ({error.detail}).", hint="Send it again.") from None


def redirect(request: Request, path: str) -> Response:
    """Return a redirection to a page after a change; htmx is told by a header, so that the whole page changes.

    Args:
        request: the request.
        path: path below `/console`, with its query.
    """
    if "hx-request" in request.headers:
        return Response(status_code=204, headers={"hx-redirect": f"{CONSOLE}{path}"})
    return RedirectResponse(f"{CONSOLE}{path}", 303)


def set_session(request: Request, response: Response, cookie: str, seconds: int) -> None:
    """Set the cookie of a session."""
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=seconds,
        path=CONSOLE,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def query_of(request: Request, model: type[Model]) -> Model:
    """Return the validated parameters of a page's address; empty ones count as absent.

    Raises:
        InvalidRequestError: one is invalid; the message names it.
    """
    return validated(model, {name: value for name, value in request.query_params.items() if value != ""})


def form_of(form: FormData, model: type[Model]) -> Model:
    """Return the validated fields of a form; empty ones count as absent, and files are left out.

    Raises:
        InvalidRequestError: one is invalid; the message names it.
    """
    fields = {name: value for name, value in form.items() if isinstance(value, str) and value and name != CSRF_FIELD}
    return validated(model, fields)


async def uploaded_text(form: FormData, name: str, most_bytes: int) -> tuple[str, str]:
    """Return name and text of an uploaded file; two empty strings for none.

    Raises:
        PayloadTooLargeError: it is too large.
        InvalidRequestError: it is not UTF-8.
    """
    file = form.get(name)
    if file is None or isinstance(file, str) or not file.filename:
        return "", ""
    content = await file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise PayloadTooLargeError(f"{file.filename[:100]} is larger than {most_bytes:,} bytes.", hint="Send less.")
    try:
        return file.filename, content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"{file.filename[:100]} is not UTF-8 (byte {error.start}).", hint="Save it as UTF-8."
        ) from None


def wants_json(request: Request) -> bool:
    """Return True if the answer to an action is to be JSON."""
    return "application/json" in request.headers.get("accept", "")
