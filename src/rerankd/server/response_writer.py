"""Response writer: common headers, and all error responses."""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from rerankd.errors import (
    AuthenticationError,
    RequestCancelledError,
    RerankdError,
    RetryableError,
    UnsupportedMediaTypeError,
)
from rerankd.server.content_encoding import ACCEPTED
from rerankd.server.context import RequestContext
from rerankd.server.paths import is_console
from rerankd.server.schemas.dialects import error_body

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
CONSOLE_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class ResponseWriter:
    """ASGI `send` that adds headers, remembers the status, and writes errors.

    Args:
        send: the server's `send`.
        context: context of the request.
        started: start of the request, seconds of `time.perf_counter`.
        path: path of the request.
        is_draining: returns True while the instance shuts down; connections are closed then.
    """

    def __init__(
        self, send: Send, context: RequestContext, started: float, path: str, is_draining: Callable[[], bool]
    ) -> None:
        self._send, self._context, self._started, self._path = send, context, started, path
        self._is_draining, self._begun = is_draining, False

    async def __call__(self, message: Message) -> None:
        """Send a message; the first gets the headers."""
        if message["type"] == "http.response.start":
            self._begun = True
            self._context.status = message["status"]
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            headers.raw.extend((name, value) for name, value in SECURITY_HEADERS if name.decode() not in headers)
            headers.raw.append((b"content-security-policy", self._policy()))
            headers["x-request-id"] = self._context.request_id
            headers["x-total-time"] = f"{(time.perf_counter() - self._started) * 1000:.3f}"
            if self._is_draining():
                headers["connection"] = "close"
        await self._send(message)

    def _policy(self) -> bytes:
        if is_console(self._path):
            return CONSOLE_POLICY
        return DOCS_POLICY if self._path == "/docs" else API_POLICY

    async def write_error(self, error: RerankdError) -> None:
        """Write an error in the dialect of the request, unless a response has begun."""
        status, headers, body = _error_response(error, self._context)
        if self._begun:
            return
        if status == RequestCancelledError.status:  # the client is gone: nobody reads the response
            self._context.status = status
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


def _error_response(error: RerankdError, context: RequestContext) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and body of an error, and note its code for the log."""
    status, content = error_body(error, context.dialect, context.request_id)
    headers = [(b"content-type", b"application/json"), *context.headers]
    if isinstance(error, RetryableError):
        seconds = max(error.retry_after, 0.001)
        headers.append((b"retry-after", str(int(-(-seconds // 1))).encode()))
        headers.append((b"retry-after-ms", str(int(-(-seconds * 1000 // 1))).encode()))
    if isinstance(error, UnsupportedMediaTypeError):
        headers.append((b"accept-encoding", ACCEPTED.encode()))
    if isinstance(error, AuthenticationError):
        # Basic lets a browser ask for the key, to read /docs.
        headers += [(b"www-authenticate", b"Bearer"), (b"www-authenticate", b'Basic realm="rerankd key as password"')]
    context.fields.setdefault("error", error.code)
    body = orjson.dumps(content)
    headers.append((b"content-length", str(len(body)).encode()))
    return status, headers, body
