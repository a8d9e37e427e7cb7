"""The errors that rerankd raises on purpose.

    RerankdError
    |-- InvalidRequestError        the caller's input (400)
    |   |-- InvalidInputFileError  a file or line that cannot be read
    |   |-- UnsupportedMediaTypeError  a body whose type or encoding is not read (415)
    |   `-- UnsupportedFieldError  a field of a strict request that cannot be honoured (422)
    |-- MissingDependencyError     an extra is not installed
    |-- ModelError                 a problem with a model's files
    |   |-- ModelNotFoundError     no such model, or the hub is not reachable (404)
    |   |-- UnsupportedModelError  a network or head that is not computed
    |   |-- CorruptModelError      truncated, foreign or changed files
    |   `-- VerificationError      a compiled model disagrees with its source
    |-- ScoringError               the model gave no usable score (500)
    |-- RetryableError             try again later; `retry_after` is the time
    |   |-- OverloadedError        the queue is full (429)
    |   |-- RateLimitedError       a key is over its rate limit or quota (429)
    |   `-- UnavailableError       starting, draining, or unable to score (503)
    |-- DeadlineExceededError      the caller's time is up (504)
    |-- RequestCancelledError      the caller went away (499)
    |-- AuthenticationError        no key, or an unknown one (401)
    |-- PermissionDeniedError      a key that may not do this (403)
    |   |-- HostNotAllowedError    a Host header that is not the service's (403)
    |   `-- CrossOriginError       a web page of another origin (403)
    |-- PayloadTooLargeError       a body over the limit (413)
    |-- BodyTimeoutError           a body that does not arrive (408)
    |-- ConflictError              contradicts what is there already (409)
    |-- PromotionRefusedError      a model that may not become champion (409)
    `-- NotFoundError              no such path or thing (404)
        `-- MethodNotAllowedError  a method that the path does not accept (405)

Each class has a stable `code`, an HTTP `status` and, per instance, a `hint` that names the fix.
"""

from __future__ import annotations


class RerankdError(Exception):
    """Base of all errors that rerankd raises on purpose.

    Args:
        message: description of the problem, one sentence.
        hint: description of the fix, one sentence; shown after the message.

    Example:
        >>> str(InvalidRequestError("The query is empty.", hint="Pass a non-empty string."))
        'The query is empty. Pass a non-empty string.'
    """

    code = "internal_error"
    status = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


class InvalidRequestError(RerankdError, ValueError):
    """Input of the caller that cannot be used."""

    code = "invalid_request"
    status = 400


class InvalidInputFileError(InvalidRequestError):
    """An input file, or a line of it, that cannot be read."""

    code = "invalid_input_file"


class UnsupportedMediaTypeError(InvalidRequestError):
    """A request body whose `Content-Type` or `Content-Encoding` is not read."""

    code = "unsupported_media_type"
    status = 415


class UnsupportedFieldError(InvalidRequestError):
    """A field of a strict request that cannot be honoured.

    Args:
        message: description of the problem, one sentence.
        hint: description of the fix, one sentence.
        field: name of the field.
    """

    code = "unsupported_field"
    status = 422

    def __init__(self, message: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field


class MissingDependencyError(RerankdError, ImportError):
    """An optional package that is needed and not installed."""

    code = "missing_dependency"
    status = 501


class ModelError(RerankdError):
    """A problem with a model's files."""

    code = "model_error"


class ModelNotFoundError(ModelError):
    """A reference to no model, or a hub that cannot be reached."""

    code = "model_not_found"
    status = 404


class UnsupportedModelError(ModelError):
    """A network or head that rerankd does not support."""

    code = "unsupported_model"


class CorruptModelError(ModelError):
    """Files that are truncated, foreign, missing or changed since they were written."""

    code = "corrupt_model"


class VerificationError(ModelError):
    """A compiled model that does not rank like its source."""

    code = "verification_failed"


class ScoringError(RerankdError):
    """A score that cannot be used, such as NaN."""

    code = "scoring_failed"


class RetryableError(RerankdError):
    """A temporary condition: the same request can be sent again later.

    Args:
        message: description of the problem, one sentence.
        hint: description of the fix, one sentence.
        retry_after: seconds after which sending it again should succeed.
    """

    code = "retry_later"
    status = 503

    def __init__(self, message: str, *, hint: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class OverloadedError(RetryableError):
    """A full queue (load shedding); nothing of the request was computed."""

    code = "overloaded"
    status = 429


class RateLimitedError(RetryableError):
    """An API key over its rate limit or quota."""

    code = "rate_limited"
    status = 429


class UnavailableError(RetryableError):
    """A service that is starting, draining, or cannot score."""

    code = "unavailable"


class DeadlineExceededError(RerankdError):
    """A request that was not finished within its time limit."""

    code = "deadline_exceeded"
    status = 504


class RequestCancelledError(RerankdError):
    """A request whose caller disconnected; what was not computed yet was dropped."""

    code = "request_cancelled"
    status = 499


class AuthenticationError(RerankdError):
    """A request without an API key, or with an unknown one."""

    code = "unauthenticated"
    status = 401


class PermissionDeniedError(RerankdError):
    """An API key without the permission for this."""

    code = "permission_denied"
    status = 403


class HostNotAllowedError(PermissionDeniedError):
    """A request for a host name that is not the service's, as in DNS rebinding."""

    code = "host_not_allowed"


class CrossOriginError(PermissionDeniedError):
    """A request that a browser sends for a web page of another origin."""

    code = "cross_origin"


class PayloadTooLargeError(RerankdError):
    """A request body over the size limit."""

    code = "payload_too_large"
    status = 413


class BodyTimeoutError(RerankdError):
    """A request body that did not arrive in time."""

    code = "body_timeout"
    status = 408


class ConflictError(RerankdError):
    """A request that conflicts with the current state."""

    code = "conflict"
    status = 409


class PromotionRefusedError(RerankdError):
    """A model that may not be promoted as things are; nothing was changed."""

    code = "promotion_refused"
    status = 409


class NotFoundError(RerankdError):
    """A path or a resource that does not exist."""

    code = "not_found"
    status = 404


class MethodNotAllowedError(NotFoundError):
    """A method that the path does not accept."""

    code = "method_not_allowed"
    status = 405
