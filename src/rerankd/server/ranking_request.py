"""The one place where a request body, of any dialect, becomes a ranking request."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from starlette.requests import Request

from rerankd._common.strict import check_strict
from rerankd.engine.admission import make_retry_key
from rerankd.errors import InvalidRequestError
from rerankd.ranking.requests import build_request
from rerankd.server.context import current_request
from rerankd.server.ignored_fields import ignored_field_log
from rerankd.server.schemas.base import BaseRequestBody
from rerankd.settings import Settings
from rerankd.types import RerankRequest

USER_HEADER, SESSION_HEADER, TIMEOUT_HEADER = "X-Rerankd-User", "X-Rerankd-Session", "X-Request-Timeout"
STRICT_HEADER = "X-Rerankd-Strict"
MAX_UNIT = 256


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """Properties that a ranking inherits from the HTTP request that carries it.

    Attributes:
        tenant: id of the API key; empty where no key is required.
        fairness_key: tenant, or the client's address where no key is required.
        retry_key: the same text when the client sends the same request again.
        request_id: id in the response, the log and the traces.
        source: `http` in traces.
        timeout: time limit in seconds, from a header or the settings; None for no limit.
        user: id of the user, from a header; empty for none.
        session: id of the session, from a header; empty for none.
        best_priority: most urgent priority that the API key may have.
        strict: True if a header asks for errors where a field cannot be honoured.
    """

    tenant: str = ""
    fairness_key: str = ""
    retry_key: str = ""
    request_id: str = ""
    source: str = "library"
    timeout: float | None = None
    user: str = ""
    session: str = ""
    best_priority: int = 0
    strict: bool = False


def read_origin(request: Request, payload: bytes, settings: Settings) -> RequestOrigin:
    """Return the origin of a ranking.

    Args:
        request: the HTTP request.
        payload: bytes of its body.
        settings: settings of the service.

    Raises:
        InvalidRequestError: a header is invalid.
    """
    context = current_request.get()
    fairness_key = client_of(request)
    return RequestOrigin(
        tenant=context.tenant,
        fairness_key=fairness_key,
        retry_key=make_retry_key(fairness_key, payload),
        request_id=context.request_id,
        source="http",
        timeout=shortest(read_timeout(request), settings.request_timeout or None),
        user=_read_unit(request, USER_HEADER),
        session=_read_unit(request, SESSION_HEADER),
        best_priority=context.best_priority,
        strict=read_strict(request),
    )


def to_rerank_request(
    body: BaseRequestBody, settings: Settings, origin: RequestOrigin | None = None, *, strict: bool = False
) -> RerankRequest:
    """Build the ranking request that a body asks for, whatever its dialect.

    Args:
        body: validated body. A body of pairs or of a question gives a request without documents: the template of the
            rankings that follow from it.
        settings: settings of the service, for limits and defaults.
        origin: origin of the request; None for a job, whose worker fills in tenant, request id and time limit.
        strict: True to refuse fields that cannot be honoured, unless the body says otherwise.

    Raises:
        InvalidRequestError: the query, a document or the fusion is invalid.
        UnsupportedFieldError: the request is strict, and a field cannot be honoured whatever the model.
        PayloadTooLargeError: there are more documents than `max_documents`.

    Example:
        >>> from rerankd.server.schemas.rerank import RerankRequestBody
        >>> body = RerankRequestBody(query="q", documents=["a", {"text": "b", "id": 7}], top_k=1)
        >>> request = to_rerank_request(body, Settings())
        >>> request.top_n, request.documents[1].id
        (1, '7')
    """
    documents = body.ranking_documents(settings)
    timeout = shortest(body.timeout, origin.timeout) if origin else None
    if origin is not None and (ignored := body.ignored_fields):
        ignored_field_log.note(origin.fairness_key, ignored)
    origin = origin or RequestOrigin(strict=strict)
    strict = origin.strict if body.strict is None else body.strict
    if strict:
        check_strict(body.warnings)
    return build_request(
        query=body.ranking_query,
        documents=documents,
        top_n=body.limit,
        activation=body.activation,
        model=body.model,
        truncation=replace(body.truncation_overrides(), instruction=body.requested_instruction),
        timeout=timeout,
        fairness_key=origin.fairness_key,
        retry_key=origin.retry_key,
        cache=body.cache is not False,
        request_id=origin.request_id,
        tenant=origin.tenant,
        source=origin.source,
        threshold=body.lowest_score,
        fusion=body.rank_fusion(settings),
        user=origin.user,
        session=origin.session,
        priority=body.ranking_priority,
        best_priority=origin.best_priority,
        strict=strict,
        spans=body.span_options,
    )


def client_of(request: Request) -> str:
    """Return the tenant of a request, or the client's address where no key is required; empty for neither."""
    return current_request.get().tenant or (request.client.host if request.client else "")


def read_strict(request: Request) -> bool:
    """Return True if the request's header asks for errors where a field cannot be honoured.

    Raises:
        InvalidRequestError: it is neither true nor false.
    """
    value = request.headers.get(STRICT_HEADER, "").strip().lower()
    if value not in ("", "true", "1", "false", "0"):
        raise InvalidRequestError(f"{STRICT_HEADER} is neither true nor false.", hint="Send true, or leave it out.")
    return value in ("true", "1")


def read_timeout(request: Request) -> float | None:
    """Return the time limit in the request's header, in seconds; None where there is none.

    Raises:
        InvalidRequestError: it is not a positive number.
    """
    header = request.headers.get(TIMEOUT_HEADER)
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InvalidRequestError(f"{TIMEOUT_HEADER} is not a positive number.", hint="Give it in seconds.")
    return seconds


def shortest(*timeouts: float | None) -> float | None:
    """Return the shortest of several time limits, of which None is no limit."""
    return min((timeout for timeout in timeouts if timeout is not None), default=None)


def _read_unit(request: Request, name: str) -> str:
    """Return the id of a user or a session from a header; experiments are sticky to it.

    Raises:
        InvalidRequestError: it is too long, or not printable.
    """
    value = request.headers.get(name, "").strip()
    if len(value) > MAX_UNIT or not value.isprintable():
        raise InvalidRequestError(f"{name} is longer than {MAX_UNIT} characters, or not printable.", hint="Send an id.")
    return value
