"""Every error that rerankd raises on purpose.

    RerankdError
    |-- InvalidRequestError        the caller's input (400)
    |   `-- InvalidInputFileError  a file or line that cannot be read
    |-- MissingDependencyError     an extra is not installed
    |-- ModelError                 anything about a model's files
    |   |-- ModelNotFoundError     nothing there, or not reachable (404)
    |   |-- UnsupportedModelError  a network or head that is not computed
    |   |-- CorruptModelError      truncated, foreign or changed files
    |   `-- VerificationError      a compiled model disagrees with its source
    |-- ScoringError               the model gave no usable score (500)
    |-- RetryableError             not now; `retry_after` says when
    |   |-- OverloadedError        the queue is full (429)
    |   |-- RateLimitedError       a key used up its share (429)
    |   `-- UnavailableError       starting, draining, or unable to score (503)
    |-- DeadlineExceededError      the caller's time is up (504)
    |-- RequestCancelledError      the caller went away (499)
    |-- AuthenticationError        no key, or an unknown one (401)
    |-- PermissionDeniedError      a key that may not do this (403)
    |-- PayloadTooLargeError       a body over the limit (413)
    |-- BodyTimeoutError           a body that does not arrive (408)
    |-- ConflictError              contradicts what is there already (409)
    |-- PromotionRefusedError      a model that may not become champion (409)
    `-- NotFoundError              no such path or thing, or a wrong method (404, 405)

Each class has a stable `code`, an HTTP `status` and, per instance, a `hint` that names the fix.
"""

from __future__ import annotations


class RerankdError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: what is wrong, one sentence.
        hint: how to mend it, one sentence; shown after the message.

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
    """The caller's input cannot be used."""

    code = "invalid_request"
    status = 400


class InvalidInputFileError(InvalidRequestError):
    """A file or a line of it cannot be read."""

    code = "invalid_input_file"


class MissingDependencyError(RerankdError, ImportError):
    """An optional package is needed and not installed."""

    code = "missing_dependency"
    status = 501


class ModelError(RerankdError):
    """Something about a model's files."""

    code = "model_error"


class ModelNotFoundError(ModelError):
    """The reference leads nowhere, or the hub cannot be reached."""

    code = "model_not_found"
    status = 404


class UnsupportedModelError(ModelError):
    """A network or head that rerankd does not compute."""

    code = "unsupported_model"


class CorruptModelError(ModelError):
    """Files that are truncated, foreign, missing or changed since they were written."""

    code = "corrupt_model"


class VerificationError(ModelError):
    """A compiled model does not rank like its source."""

    code = "verification_failed"


class ScoringError(RerankdError):
    """The model gave no usable score."""

    code = "scoring_failed"


class RetryableError(RerankdError):
    """Nothing is wrong with the request; it can be sent again.

    Args:
        message: what is wrong, one sentence.
        hint: how to mend it.
        retry_after: seconds after which sending it again should succeed.
    """

    code = "retry_later"
    status = 503

    def __init__(self, message: str, *, hint: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class OverloadedError(RetryableError):
    """The queue is full; nothing of the request was computed."""

    code = "overloaded"
    status = 429


class RateLimitedError(RetryableError):
    """A key has used up its requests or tokens."""

    code = "rate_limited"
    status = 429


class UnavailableError(RetryableError):
    """The service is starting, draining, or cannot score."""

    code = "unavailable"


class DeadlineExceededError(RerankdError):
    """The time that the caller gave is up."""

    code = "deadline_exceeded"
    status = 504


class RequestCancelledError(RerankdError):
    """The caller went away; what was not computed yet was dropped."""

    code = "request_cancelled"
    status = 499


class AuthenticationError(RerankdError):
    """No key was sent, or one that is not known."""

    code = "unauthenticated"
    status = 401


class PermissionDeniedError(RerankdError):
    """The key may not do this."""

    code = "permission_denied"
    status = 403


class PayloadTooLargeError(RerankdError):
    """The body is larger than the limit."""

    code = "payload_too_large"
    status = 413


class BodyTimeoutError(RerankdError):
    """The body was not sent in time."""

    code = "body_timeout"
    status = 408


class ConflictError(RerankdError):
    """The request contradicts what is there already."""

    code = "conflict"
    status = 409


class PromotionRefusedError(RerankdError):
    """A model may not become champion as things are; nothing was changed."""

    code = "promotion_refused"
    status = 409


class NotFoundError(RerankdError):
    """There is no such path or thing, or the path does not take this method."""

    code = "not_found"
    status = 404
