"""The text of an error, for messages, logs and records."""

from __future__ import annotations

from rerankd.errors import RerankdError

MAX_CHARACTERS = 200


def first_line(error: BaseException, limit: int = MAX_CHARACTERS) -> str:
    """Return the first line of an error's message that is not blank; the name of its class if there is none.

    Args:
        error: an error of another library, whose message may have many lines or none.
        limit: maximum number of characters.

    Example:
        >>> first_line(OSError("disk full\\nat block 7")), first_line(TimeoutError())
        ('disk full', 'TimeoutError')
    """
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:limit]


def public_message(error: BaseException, unexpected: str = "", *, hint: bool = False) -> str:
    """Return what users may read of an error: the message of one of ours, never that of another library.

    A foreign message may quote paths, texts or passwords, so only the name of its class is shown.

    Args:
        error: any error.
        unexpected: text for an error that is not ours; the name of its class if empty.
        hint: True to add the hint of an error of ours.

    Example:
        >>> from rerankd.errors import ScoringError
        >>> public_message(ScoringError("No score.", hint="Try again.")), public_message(KeyError("secret"))
        ('No score.', 'KeyError')
    """
    if isinstance(error, RerankdError):
        return (str(error) if hint else error.message) or type(error).__name__
    return unexpected or type(error).__name__
