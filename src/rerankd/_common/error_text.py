"""The text of an error, for messages, logs and records."""

from __future__ import annotations

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
