"""What every request passes before and after its handler: a name, a key, a limit, headers, a line in the log."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rerankd._common.logging import logger
from rerankd.errors import (
    AuthenticationError,
    BodyTimeoutError,
    PayloadTooLargeError,
    RequestCancelledError,
    RerankdError,
    RetryableError,
    UnavailableError,
)
from rerankd.server.auth.keys import ApiKey, presented_key
from rerankd.server.background import Call, pending
from rerankd.server.observability.tracing import RequestSpan
from rerankd.server.schemas.dialects import Dialect, error_body
from rerankd.server.service import Service

_log = logger(__name__)

OPEN_PATHS = frozenset({"/livez", "/readyz", "/health", "/ping", "/v1/cluster/auth"})
QUIET_PATHS = OPEN_PATHS | {"/metrics"}
REFUSALS = frozenset({401, 403, 408, 413, 429, 503})
BODY_PAUSE_SECONDS = 20.0
BODY_SECONDS = 120.0
REQUEST_ID = r"^[\w.:-]{1,128}$"
_REQUEST_ID = re.compile(REQUEST_ID, re.ASCII)
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
API_POLICY = b"default-src 'none'; frame-ancestors 'none'"
DOCS_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; frame-ancestors 'none'"
)


class RequestContext:
    """What is said of a request when it is done; handlers fill it in."""

    __slots__ = ("charged", "dialect", "fields", "headers", "key", "request_id", "span", "status")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.key: ApiKey | None = None
        self.dialect: Dialect = "union"
        self.status = 0
        self.fields: dict[str, Any] = {}
        self.headers: list[tuple[bytes, bytes]] = []
        self.charged = 0
        self.span: RequestSpan | None = None


current: ContextVar[RequestContext] = ContextVar("request_log")


def error_response(error: RerankdError, log: RequestContext) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of an error; the only place where one is written."""
    status, body = error_body(error, log.dialect, log.request_id)
    headers = [(b"content-type", b"application/json"), *log.headers]
    if isinstance(error, RetryableError):
        seconds = max(error.retry_after, 0.001)
        headers.append((b"retry-after", str(int(-(-seconds // 1))).encode()))
        headers.append((b"retry-after-ms", str(int(-(-seconds * 1000 // 1))).encode()))
    if isinstance(error, AuthenticationError):
        # Basic lets a browser ask for the key, to read /docs.
        headers += [(b"www-authenticate", b"Bearer"), (b"www-authenticate", b'Basic realm="rerankd key as password"')]
    log.fields.setdefault("error", error.code)
    content = orjson.dumps(body)
    headers.append((b"content-length", str(len(content)).encode()))
    return status, headers, content


class RequestMiddleware:
    """Names the request, counts it, checks its key and its size, and writes its line in the log.

    Args:
        app: what comes inside.
        service: the instance.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        log = RequestContext(given if _REQUEST_ID.match(given) else uuid.uuid4().hex)
        afterwards: list[Call] = []
        token, later = current.set(log), pending.set(afterwards)
        answer = ResponseWriter(send, log, started, scope["path"], closing=lambda: self._service.draining)
        body = BodyLimiter(receive, self._service.settings, headers, self)
        try:
            self._admit(scope, headers, log)
            body.check_declared()
            await self._app(scope, body, answer)
        except ClientDisconnect:
            await answer.write(*error_response(RequestCancelledError("The caller went away."), log))
        except RerankdError as error:
            if error.status in REFUSALS and error.code != "overloaded":  # that one is counted by its engine
                self._service.metrics.refused("", error.code)
            await answer.write(*error_response(error, log))
        except Exception as error:  # the last line: nothing of it goes to the caller but the request's id
            _log.exception("unexpected error", exc_info=error, extra={"request_id": log.request_id})
            hidden = RerankdError("Something went wrong.", hint=f"The server's log has it under {log.request_id}.")
            await answer.write(*error_response(hidden, log))
        finally:
            body.let_go()
            current.reset(token)
            self._note(scope, log, time.perf_counter() - started)
            pending.reset(later)
            for call in afterwards:
                call()

    def _admit(self, scope: Scope, headers: Headers, log: RequestContext) -> None:
        keys = self._service.keys
        if not keys.required or scope["path"] in OPEN_PATHS:
            return
        presented = presented_key(headers)
        if presented is None:
            raise AuthenticationError("A key is needed.", hint="Send it as Authorization: Bearer KEY.")
        log.key = keys.find(presented)
        if log.key is None:
            raise AuthenticationError("The key is not known.", hint="Ask for one: rerankd keys add NAME.")

    def _note(self, scope: Scope, log: RequestContext, seconds: float) -> None:
        metrics, path = self._service.metrics, scope["path"]
        # A path is counted by its route, so that strangers cannot make up labels.
        route = getattr(scope.get("route"), "path", "other") if path not in QUIET_PATHS else path
        metrics.requests.labels(route, log.status).inc()
        metrics.duration.labels(route).observe(seconds)
        if path in QUIET_PATHS and log.status < 500:
            return
        client = scope.get("client")
        fields = {
            "request_id": log.request_id,
            "method": scope["method"],
            "path": path[:200],
            "status": log.status,
            "ms": round(seconds * 1000, 2),
            "key": log.key.id if log.key else None,
            "client": client[0] if client else None,
        }
        _log.info("request", extra=fields | log.fields)

    def hold(self, size: int) -> None:
        """Count bytes of bodies that are in memory.

        Raises:
            UnavailableError: there are too many.
        """
        self._held += size
        if size > 0 and self._held > self._service.settings.max_inflight_mb * 1_000_000:
            raise UnavailableError("Too many large requests are being served.", hint="Send it again.", retry_after=2)


class BodyLimiter:
    """A request's body, counted as it comes."""

    def __init__(self, receive: Receive, settings: Any, headers: Headers, edge: RequestMiddleware) -> None:
        self._receive, self._headers, self._edge = receive, headers, edge
        self._limit = int(settings.max_body_mb * 1_000_000)
        self._size = 0
        self._whole = False
        self._until = time.monotonic() + BODY_SECONDS

    def check_declared(self) -> None:
        declared = self._headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._limit:
            self._refuse()

    def _refuse(self) -> None:
        raise PayloadTooLargeError(
            f"The body is larger than {self._limit / 1e6:g} MB.", hint="Send fewer documents, or raise max_body_mb."
        )

    async def __call__(self) -> Message:
        message = await (self._receive() if self._whole else self._in_time())
        self._whole = self._whole or not message.get("more_body", False)
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self._size += size
            self._edge.hold(size)
            if self._size > self._limit:
                self._refuse()
        return message

    async def _in_time(self) -> Message:
        """The next piece of a body; a caller that stops sending must not keep what it sent in memory."""
        try:
            async with asyncio.timeout(min(BODY_PAUSE_SECONDS, self._until - time.monotonic())):
                return await self._receive()
        except TimeoutError:
            raise BodyTimeoutError("The body did not arrive in time.", hint="Send it at once.") from None

    def let_go(self) -> None:
        self._edge.hold(-self._size)
        self._size = 0


class ResponseWriter:
    """The way out: adds headers, remembers the status, writes errors unless an answer has begun."""

    def __init__(self, send: Send, log: RequestContext, started: float, path: str, closing: Callable[[], bool]) -> None:
        self._send, self._log, self._started, self._path = send, log, started, path
        self._closing, self._begun = closing, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            self._log.status = message["status"]
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            headers.raw.extend(SECURITY_HEADERS)
            policy = DOCS_POLICY if self._path == "/docs" else API_POLICY
            headers.raw.append((b"content-security-policy", policy))
            headers["x-request-id"] = self._log.request_id
            headers["x-total-time"] = f"{(time.perf_counter() - self._started) * 1000:.3f}"
            if self._closing():
                headers["connection"] = "close"
        await self._send(message)

    async def write(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        if self._begun:
            return
        if status == RequestCancelledError.status:  # nobody reads it
            self._log.status = status
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})
