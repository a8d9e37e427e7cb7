"""Errors of the database driver, translated into errors of rerankd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)

from rerankd._common.error_text import first_line
from rerankd.errors import InvalidRequestError, RerankdError, UnavailableError


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise errors of the database driver as errors of rerankd; the messages quote no stored text.

    Raises:
        UnavailableError: the database cannot be reached now.
        InvalidRequestError: the database cannot be used at all.
    """
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise UnavailableError(
            f"The trace database is not available ({first_line(error.orig or error)}).",
            hint="Check that it is running, that its disk is not full, and that traces_url is right.",
            retry_after=5,
        ) from error
    except DBAPIError as error:
        raise InvalidRequestError(
            f"The trace database cannot be used ({first_line(error.orig or error)}).", hint="Check traces_url."
        ) from error
    except OverflowError as error:
        raise InvalidRequestError("A number is too large for the database.", hint="Use a smaller one.") from error
    except OSError as error:
        raise InvalidRequestError(
            f"The trace database cannot be written ({error}).",
            hint="Set traces_url to another location, or turn tracing off with traces = false.",
        ) from error


def is_permanent(error: Exception) -> bool:
    """Return True if the database would reject the same statement again, however often it is retried."""
    if isinstance(error, SQLAlchemyError):
        return isinstance(error, DataError | IntegrityError) or not isinstance(error, DBAPIError)
    return not isinstance(error, RerankdError | OSError)
