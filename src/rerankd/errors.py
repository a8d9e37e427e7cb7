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
    `-- ScoringError               the model gave no usable score (500)

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
