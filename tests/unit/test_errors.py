from __future__ import annotations

import inspect

from rerankd import errors
from rerankd.cli.main import exit_code


def classes() -> list[type[errors.RerankdError]]:
    types = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    return [value for value in types if issubclass(value, errors.RerankdError)]


def test_the_tree_in_the_docstring_names_every_class() -> None:
    assert errors.__doc__
    for cls in classes():
        assert cls.__name__ in errors.__doc__


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in classes()]
    assert len(set(codes)) == len(codes)


def test_message_ends_with_the_hint() -> None:
    error = errors.ModelNotFoundError("Gone.", hint="Look elsewhere.")
    assert str(error) == "Gone. Look elsewhere."
    assert (error.message, error.hint, error.status) == ("Gone.", "Look elsewhere.", 404)


OF_THE_SERVICE = (
    errors.DeadlineExceededError,
    errors.RequestCancelledError,
    errors.AuthenticationError,
    errors.PermissionDeniedError,
    errors.PayloadTooLargeError,
    errors.BodyTimeoutError,
)


def test_every_class_has_an_exit_code() -> None:
    of_the_program = [cls for cls in classes() if not issubclass(cls, OF_THE_SERVICE)]
    assert {exit_code(cls("x")) for cls in classes() if issubclass(cls, OF_THE_SERVICE)} == {1}
    assert {cls.__name__: exit_code(cls("x")) for cls in of_the_program} == {
        "RerankdError": 1,
        "InvalidRequestError": 2,
        "InvalidInputFileError": 2,
        "UnsupportedMediaTypeError": 2,
        "UnsupportedFieldError": 2,
        "ModelError": 3,
        "ModelNotFoundError": 3,
        "UnsupportedModelError": 3,
        "CorruptModelError": 3,
        "MissingDependencyError": 4,
        "VerificationError": 5,
        "ScoringError": 6,
        "NotFoundError": 2,
        "MethodNotAllowedError": 2,
        "ConflictError": 2,
        "RetryableError": 8,
        "OverloadedError": 8,
        "RateLimitedError": 8,
        "UnavailableError": 8,
        "PromotionRefusedError": 9,
    }
