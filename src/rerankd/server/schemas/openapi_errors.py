"""Errors in the OpenAPI description: for each status its form, an example for each code, and `Retry-After`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rerankd.errors import (
    AuthenticationError,
    BodyTimeoutError,
    ConflictError,
    DeadlineExceededError,
    InvalidRequestError,
    MissingDependencyError,
    ModelNotFoundError,
    NotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitedError,
    RerankdError,
    RetryableError,
    ScoringError,
    UnavailableError,
    UnsupportedFieldError,
    UnsupportedMediaTypeError,
)
from rerankd.server.schemas.dialects import Dialect, EmptyDocumentsError, error_body
from rerankd.server.schemas.responses.errors import ErrorResponse, TeiErrorResponse, VoyageErrorResponse

Json = dict[str, Any]
Errors = tuple[type[RerankdError], ...]

PROBE: Errors = (RerankdError,)
"""Errors of every route."""
GUARDED: Errors = (AuthenticationError, PermissionDeniedError, RateLimitedError, RerankdError, UnavailableError)
"""Errors of a route that needs a key, before its handler runs."""
BODY: Errors = (InvalidRequestError, BodyTimeoutError, PayloadTooLargeError, UnsupportedMediaTypeError)
"""Errors of a route that reads a body, before its dialect is known."""
SCORING: Errors = (
    InvalidRequestError,
    EmptyDocumentsError,
    PayloadTooLargeError,
    ModelNotFoundError,
    RateLimitedError,
    OverloadedError,
    UnavailableError,
    ScoringError,
    RerankdError,
    DeadlineExceededError,
    UnsupportedFieldError,
)
"""Errors of a handler that ranks or scores, in its dialect."""
LOADING: Errors = (ModelNotFoundError, ScoringError, UnavailableError)
"""Errors of a handler that loads a model."""
ADMIN: Errors = (*LOADING, InvalidRequestError, ConflictError)
"""Errors of a handler that changes models."""
TRACES: Errors = (InvalidRequestError, NotFoundError, UnavailableError, MissingDependencyError)
"""Errors of a handler that reads or writes traces."""
JOBS: Errors = (InvalidRequestError, NotFoundError, UnavailableError, UnsupportedFieldError)
"""Errors of a handler that reads or writes jobs."""
SEARCH: Errors = (*SCORING, NotFoundError, MissingDependencyError)
"""Errors of a handler that searches."""

REQUEST_ID = "8f2a61c0b7d94e5f"
_FORMS: dict[Dialect, Any] = {
    "union": ErrorResponse,
    "infinity": ErrorResponse,
    "tei": TeiErrorResponse,
    "voyage": VoyageErrorResponse,
}
RETRY_AFTER = {
    "Retry-After": {"description": "Seconds after which to send the request again.", "schema": {"type": "integer"}}
}


def error_responses(
    early: Iterable[type[RerankdError]],
    late: Iterable[type[RerankdError]],
    dialects: Sequence[Dialect],
    reference: Callable[[Any], Json],
) -> dict[int, Json]:
    """Return the responses of a route's errors, by status.

    Args:
        early: errors before the handler knows the dialect: they have the form of most routes, or Voyage's.
        late: errors of the handler, in each of the dialects.
        dialects: dialects of the route.
        reference: returns a reference to a type.
    """
    first: Dialect = "voyage" if tuple(dialects) == ("voyage",) else "union"
    responses: dict[int, Json] = {}
    for dialect, kinds in ((first, early), *((dialect, late) for dialect in dialects)):
        for kind in kinds:
            _add(responses, kind, dialect, reference)
    return {status: _response(found) for status, found in sorted(responses.items())}


def _add(
    responses: dict[int, Json], kind: type[RerankdError], dialect: Dialect, reference: Callable[[Any], Json]
) -> None:
    """Add an error to the response of its status in a dialect."""
    meaning = (kind.__doc__ or "").partition("\n")[0]
    error = kind("documents") if kind is EmptyDocumentsError else kind(_sentence(kind, meaning))
    status, body = error_body(error, dialect, REQUEST_ID)
    response = responses.setdefault(status, {"meanings": [], "forms": [], "examples": {}, "headers": {}})
    form = reference(_FORMS[dialect])
    if meaning not in response["meanings"]:
        response["meanings"].append(meaning)
    if form not in response["forms"]:
        response["forms"].append(form)
    name = error.code if dialect != "tei" else f"tei_{error.code}"
    if body not in [example["value"] for example in response["examples"].values()]:
        name = name if name not in response["examples"] else f"{name}_{len(response['examples'])}"
        response["examples"][name] = {"summary": meaning, "value": body}
    if issubclass(kind, RetryableError):
        response["headers"] = RETRY_AFTER


def _sentence(kind: type[RerankdError], meaning: str) -> str:
    """Return an example of the error's message."""
    return "An unexpected error; the log has it under the request id." if kind is RerankdError else meaning


def _response(found: Json) -> Json:
    forms = found["forms"]
    schema = forms[0] if len(forms) == 1 else {"anyOf": forms}
    response = {
        "description": " ".join(found["meanings"]),
        "content": {"application/json": {"schema": schema, "examples": found["examples"]}},
    }
    return response | ({"headers": found["headers"]} if found["headers"] else {})
