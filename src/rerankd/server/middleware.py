"""ASGI middleware around every request: request id, authentication, body limits, error responses, log line, metrics."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from rerankd._common.logging import logger
from rerankd.errors import AuthenticationError, PermissionDeniedError, RequestCancelledError, RerankdError
from rerankd.server.auth.keys import ApiKey, presented_key
from rerankd.server.auth.sessions import cookie_of
from rerankd.server.auth.usage import UsageMeter
from rerankd.server.background import Callback, pending_callbacks
from rerankd.server.body_limiter import BodyBudget, BodyLimiter
from rerankd.server.browser_guard import BrowserGuard
from rerankd.server.context import RequestContext, current_request
from rerankd.server.paths import MCP, canonical_path, is_console
from rerankd.server.response_writer import ResponseWriter
from rerankd.server.routes.embeddings import EMBEDDING_PATHS
from rerankd.server.routes.rerank import SCORING_PATHS
from rerankd.server.service import Service

_log = logger(__name__)

OPEN_PATHS = frozenset(
    {"/livez", "/readyz", "/health", "/ping", "/infinity/health", "/infinity/v1/health", "/v1/cluster/auth"}
)
QUIET_PATHS = OPEN_PATHS | {"/metrics"}
# Counted with their tokens, once their dialect is known; messages of MCP, as the requests that they become.
_SELF_METERED = frozenset({*SCORING_PATHS, *EMBEDDING_PATHS, MCP})
REFUSAL_STATUSES = frozenset({401, 403, 408, 413, 415, 429, 503})
VOYAGE_PREFIX = "/voyage/"
REQUEST_ID = r"^[\w.:-]{1,128}$"
_REQUEST_ID = re.compile(REQUEST_ID, re.ASCII)


class RequestMiddleware:
    """Give the request an id, check its key and its size, write errors, and log and count it.

    Args:
        app: the application inside.
        service: the instance.
        paths: paths that are also served with a slash or a version too many.
        guard: checks of host and origin.
    """

    def __init__(self, app: ASGIApp, service: Service, paths: Collection[str], guard: BrowserGuard) -> None:
        self._app, self._service, self._paths, self._guard = app, service, paths, guard
        self._budget = BodyBudget(service.settings.max_inflight_mb * 1_000_000)
        self._meter = UsageMeter(service.quotas)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        scope["path"] = canonical_path(scope["path"], self._paths)
        headers = Headers(scope=scope)
        sent_id = headers.get("x-request-id", "")
        context = RequestContext(sent_id if _REQUEST_ID.match(sent_id) else uuid.uuid4().hex)
        callbacks: list[Callback] = []
        context_token, callbacks_token = current_request.set(context), pending_callbacks.set(callbacks)
        if scope["path"].startswith(VOYAGE_PREFIX):
            context.dialect = "voyage"
        response = ResponseWriter(send, context, started, scope["path"], lambda: self._service.draining)
        body = BodyLimiter(receive, self._service.settings, headers, self._budget)
        try:
            if scope["path"] not in OPEN_PATHS:  # probes call by whatever name
                self._guard.check_host(headers)
            self._guard.check_origin(scope["method"], headers)
            self._authenticate(scope["path"], headers, context)
            if scope["path"] not in _SELF_METERED and not is_console(scope["path"]):
                await self._meter.count()
            body.check_declared()
            await self._app(scope, body, response)
        except ClientDisconnect:
            await response.write_error(RequestCancelledError("The client disconnected."))
        except RerankdError as error:
            if error.status in REFUSAL_STATUSES and error.code != "overloaded":  # the engine counts that one itself
                self._service.metrics.refused("", error.code)
            await response.write_error(error)
        except Exception as error:  # the last resort: the client learns nothing but the request id
            _log.exception("Unexpected error", exc_info=error, extra={"request_id": context.request_id})
            await response.write_error(
                RerankdError(
                    "Something went wrong.", hint=f"The server's log has the cause under id {context.request_id}."
                )
            )
        finally:
            body.release()
            current_request.reset(context_token)
            self._record(scope, context, time.perf_counter() - started)
            pending_callbacks.reset(callbacks_token)
            for callback in callbacks:
                callback()

    def _authenticate(self, path: str, headers: Headers, context: RequestContext) -> None:
        """Find the API key of a request, and the session of a browser; the console asks for a key itself."""
        if is_console(path):
            found = self._service.sessions.read(cookie_of(headers), self._service.keys)
            if found is not None:
                context.session, key = found
                context.key = None if key is None else self._usable(key, path)
                return
            if presented_key(headers) is None:
                return
        context.key = self._presented(path, headers)

    def _presented(self, path: str, headers: Headers) -> ApiKey | None:
        """Return the API key in the headers of a request; None where none is required."""
        keys = self._service.keys
        is_start = path == "/" and self._service.pages_only  # it leads to the console, which asks for a key
        if not keys.required or path in OPEN_PATHS or is_start:
            return None
        clear = presented_key(headers)
        if clear is None:
            raise AuthenticationError("An API key is required.", hint="Send it as Authorization: Bearer KEY.")
        key = keys.find(clear)
        if key is None:
            raise AuthenticationError("The API key is unknown.", hint="Create one with: rerankd keys add NAME.")
        return self._usable(key, path)

    def _usable(self, key: ApiKey, path: str) -> ApiKey:
        """Return a key if it may be used for a path."""
        if key.expired(time.time()):
            raise AuthenticationError(f"API key {key.id} has expired.", hint="Get another: rerankd keys rotate NAME.")
        if path == "/metrics" and not (key.admin or key.metrics):
            raise PermissionDeniedError(
                "Metrics need an admin key or a metrics key.", hint="Make one: rerankd keys add NAME --metrics."
            )
        if key.metrics and not key.admin and path != "/metrics":
            raise PermissionDeniedError("A metrics key reads /metrics only.", hint="Send another API key.")
        return key

    def _record(self, scope: Scope, context: RequestContext, seconds: float) -> None:
        """Count the request and write its log line."""
        metrics, path = self._service.metrics, scope["path"]
        # The label is the route, not the path, so that strangers cannot create labels.
        route = getattr(scope.get("route"), "path", "other") if path not in QUIET_PATHS else path
        metrics.requests.labels(route, context.status).inc()
        metrics.duration.labels(route).observe(seconds)
        if path in QUIET_PATHS and context.status < 500:
            return
        client = scope.get("client")
        fields = {
            "request_id": context.request_id,
            "method": scope["method"],
            "path": path[:200],
            "status": context.status,
            "ms": round(seconds * 1000, 2),
            "key": context.key.id if context.key else None,
            "client": client[0] if client else None,
        }
        _log.info("request", extra=fields | context.fields)
