"""The context of one request: its id, its key, and the fields of its log line and response headers."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from rerankd.server.auth.keys import ApiKey
from rerankd.server.auth.sessions import Session
from rerankd.server.observability.tracing import RequestSpan
from rerankd.server.schemas.dialects import Dialect


class RequestContext:
    """State of a request that outlives its handler; handlers fill it in, the middleware reads it.

    Attributes:
        request_id: id in the log, in the response and in traces.
        key: API key of the request; None where no key is required.
        session: session of the browser, on pages of the console; None for none.
        dialect: dialect in which errors are written.
        status: HTTP status of the response; 0 until it has begun.
        fields: additional fields of the log line.
        headers: additional headers of an error response.
        counted: True if the key's quota was charged with this request, and tokens alone are to be added.
        charged: tokens that the key's quota was charged and that may still be corrected.
        span: OpenTelemetry span; None outside of scoring requests.
    """

    __slots__ = ("charged", "counted", "dialect", "fields", "headers", "key", "request_id", "session", "span", "status")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.key: ApiKey | None = None
        self.session: Session | None = None
        self.dialect: Dialect = "union"
        self.status = 0
        self.fields: dict[str, Any] = {}
        self.headers: list[tuple[bytes, bytes]] = []
        self.counted = False
        self.charged = 0
        self.span: RequestSpan | None = None

    @property
    def tenant(self) -> str:
        """Id of the key's tenant; empty where no key is required."""
        return self.key.tenant_id if self.key else ""

    @property
    def best_priority(self) -> int:
        """Most urgent priority that the key may ask for; 0 where no key is required."""
        return self.key.best_priority if self.key else 0


current_request: ContextVar[RequestContext] = ContextVar("request_context")
