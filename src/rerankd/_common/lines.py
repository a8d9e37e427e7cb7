"""Lines of a text, ended by line feeds alone."""

from __future__ import annotations


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text; only a line feed, or carriage return and line feed, ends a line.

    `str.splitlines` also cuts at U+2028, form feeds and eight other characters, which are part of the text in JSON, TSV
    and event streams.

    Args:
        text: the text; a line feed at its end begins no further line.

    Example:
        >>> split_lines("first\u2028still first\r\nsecond\n")
        ['first\u2028still first', 'second']
    """
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]
