"""Signing in with an API key, signing out, and the language."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import FormData
from starlette.requests import Request

from rerankd.console.language import COOKIE as LANGUAGE_COOKIE
from rerankd.console.language import LANGUAGES
from rerankd.console.pages import PageRenderer
from rerankd.console.router import read_form, set_session
from rerankd.console.visitor import visitor_of
from rerankd.errors import InvalidRequestError
from rerankd.server.auth.keys import MAX_HEADER, ApiKey
from rerankd.server.auth.sessions import COOKIE
from rerankd.server.paths import CONSOLE, is_console
from rerankd.server.service import Service

LANGUAGE_SECONDS = 365 * 24 * 3600


class SignInPages:
    """Pages that need no session.

    A form that signs in, out, or changes the language carries no token: what another page could do with it is refused
    by the browser guard, which lets no other origin send requests.
    """

    def __init__(self, service: Service, renderer: PageRenderer) -> None:
        self._service, self._renderer = service, renderer

    async def show(self, request: Request) -> Response:
        """Show the form that asks for a key."""
        if not self._service.keys.required:
            return RedirectResponse(CONSOLE, 303)
        return self._form(request, next_address(request.query_params.get("next", "")), refused=False)

    async def sign_in(self, request: Request) -> Response:
        """Start a session."""
        form = await read_form(request, max_fields=10)
        address = next_address(str(form.get("next", "")))
        key = self._find(form)
        if key is None:
            return self._form(request, address, refused=True)
        response = RedirectResponse(address, 303)
        set_session(request, response, self._service.sessions.issue(key), self._service.sessions.seconds)
        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session in this browser."""
        response = RedirectResponse(f"{CONSOLE}/sign-in", 303)
        response.delete_cookie(COOKIE, path=CONSOLE, httponly=True, samesite="strict")
        return response

    async def choose_language(self, request: Request) -> Response:
        """Remember the language, and show the page again."""
        form = await read_form(request, max_fields=10)
        language = str(form.get("language", ""))
        if language not in LANGUAGES:
            raise InvalidRequestError("The language is unknown.", hint=f"Choose one of {', '.join(LANGUAGES)}.")
        response = RedirectResponse(next_address(str(form.get("next", ""))), 303)
        response.set_cookie(LANGUAGE_COOKIE, language, max_age=LANGUAGE_SECONDS, path=CONSOLE, samesite="strict")
        return response

    def _find(self, form: FormData) -> ApiKey | None:
        clear = str(form.get("key", "")).strip()
        key = self._service.keys.find(clear) if 0 < len(clear) <= MAX_HEADER else None
        return None if key is None or key.metrics or key.expired(time.time()) else key

    def _form(self, request: Request, address: str, *, refused: bool) -> Response:
        data = {"next": address, "refused": refused}
        return self._renderer.render(request, visitor_of(request), "sign_in.html", data, 403 if refused else 200)


def next_address(address: str) -> str:
    """Return the address to go to next: a page of the console, or its start page for any other.

    Example:
        >>> next_address("/console/traces?tenant=a"), next_address("//evil.example/console")
        ('/console/traces?tenant=a', '/console')
    """
    parts = urlsplit(address) if address.isprintable() and "\\" not in address else urlsplit("")
    is_local = not parts.scheme and not parts.netloc and is_console(parts.path) and ".." not in parts.path
    return address if is_local else CONSOLE


def sign_in_router(service: Service, renderer: PageRenderer) -> APIRouter:
    """Return the routes of sessions and language."""
    pages, router = SignInPages(service, renderer), APIRouter(include_in_schema=False)
    router.add_api_route(f"{CONSOLE}/sign-in", pages.show, methods=["GET"])
    router.add_api_route(f"{CONSOLE}/sign-in", pages.sign_in, methods=["POST"])
    router.add_api_route(f"{CONSOLE}/sign-out", pages.sign_out, methods=["POST"])
    router.add_api_route(f"{CONSOLE}/language", pages.choose_language, methods=["POST"])
    return router
