"""Numbers, times and texts as pages show them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
from markupsafe import Markup, escape

from rerankd.evaluation.report.markup import printable

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
SHORT = 260


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with a fixed number of decimals; a dash for None.

    Example:
        >>> number(-0.51234, 2), number(None)
        ('−0.51', '–')
    """
    return NONE if value is None else f"{value:,.{digits}f}".replace("-", MINUS)


def signed(value: float | None, digits: int = 3) -> str:
    """Return a number with its sign.

    Example:
        >>> signed(0.5, 1), signed(-0.5, 1), signed(0, 0)
        ('+0.5', '−0.5', '0')
    """
    if value is None:
        return NONE
    text = number(value, digits)
    return f"+{text}" if value > 0 else text


def percent(value: float | None, digits: int = 0) -> str:
    """Return a share as a percentage.

    Example:
        >>> percent(0.256), percent(None)
        ('26 %', '–')
    """
    return NONE if value is None else f"{value * 100:.{digits}f} %".replace("-", MINUS)


def duration(seconds: float) -> str:
    """Return a time in the one or two largest units.

    Example:
        >>> duration(42), duration(600), duration(86_589), duration(200_000)
        ('42 s', '10 min', '24 h 3 min', '2 d 7 h')
    """
    minutes, hours = int(seconds) // 60, int(seconds) // 3600
    if minutes < 1:
        return f"{int(seconds)} s"
    if hours < 1:
        return f"{minutes} min"
    large, small = (f"{hours} h", f"{minutes % 60} min") if hours < 48 else (f"{hours // 24} d", f"{hours % 24} h")
    return large if small.startswith("0 ") else f"{large} {small}"


def megabytes(count: int | None) -> str:
    """Return a number of bytes in megabytes.

    Example:
        >>> megabytes(29_160_281), megabytes(None)
        ('29.2 MB', '–')
    """
    return NONE if count is None else f"{count / 1e6:,.1f} MB"


def moment(seconds: float | None) -> str:
    """Return a time in UTC.

    Args:
        seconds: seconds since 1970; None for a dash.

    Example:
        >>> moment(0)
        '1970-01-01 00:00:00'
    """
    return NONE if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso_moment(seconds: float) -> str:
    """Return a time in UTC for the attribute `datetime`.

    Example:
        >>> iso_moment(0)
        '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def shortened(text: str, length: int = SHORT) -> str:
    """Return the beginning of a text.

    Example:
        >>> shortened("abcdef", 3)
        'abc…'
    """
    return text if len(text) <= length else f"{text[:length]}…"


def marked(text: str, spans: Sequence[tuple[int, int]], length: int = SHORT) -> Markup:
    """Return the beginning of a text with the words at some places marked.

    Args:
        text: the text.
        spans: places as positions of their first character and of the one behind their last, in order.
        length: characters that are returned at most.

    Example:
        >>> marked("<a> panda", [(4, 9)])
        Markup('&lt;a&gt; <mark>panda</mark>')
    """
    parts, done = list[str](), 0
    for start, end in spans:
        if start >= length:
            break
        parts += [escape(printable(text[done:start])), "<mark>", escape(printable(text[start:end])), "</mark>"]
        done = end
    last = max(done, length)
    parts.append(escape(printable(text[done:last])))
    return Markup("".join(parts) + ("…" if len(text) > last else ""))  # noqa: S704


def json_block(content: object) -> Markup:
    """Return JSON for a `<script type="application/json">` block: no text in it can end the block.

    Example:
        >>> json_block({"text": "</script>"})
        Markup('{"text":"\\\\u003c/script\\\\u003e"}')
    """
    text = orjson.dumps(content).decode()
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704


def finalize(value: object) -> object:
    """Return a value as templates print it: characters that HTML may not hold are replaced."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
