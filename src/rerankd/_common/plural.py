"""Counts in sentences."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun, or with a whole phrase, in the singular or the plural.

    Args:
        count: the number.
        one: the phrase that follows 1.
        many: the phrase that follows every other number; empty for `one` with an "s" at its end.

    Example:
        >>> counted(1, "row"), counted(0, "row"), counted(1200, "query", "queries")
        ('1 row', '0 rows', '1,200 queries')
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
