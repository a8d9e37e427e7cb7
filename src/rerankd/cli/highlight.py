"""Texts in table cells with their spans highlighted: by colour, or by plain marks where there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.text import Text

from rerankd._common.characters import escape_controls
from rerankd.types import Span

MAX_TEXT = 400  # characters of a text that are shown whole
MAX_GAP = 60  # characters between two spans of a longer one
MAX_CELL = 1200
STYLE = "bold yellow"
MARKS = ("**", "**")  # as Markdown's bold
_BLANKS = re.compile(r"\s+")


def highlighted(text: str, spans: Sequence[Span], *, plain: bool) -> Text:
    """Return a text on one line, its spans highlighted; of a long text, the spans and what is beside them.

    Args:
        text: the text.
        spans: its spans, in order.
        plain: True for marks instead of colours.

    Example:
        >>> highlighted("Pears. Paris is it.", [Span(7, 19, 0.9)], plain=True).plain
        'Pears. **Paris is it.**'
    """
    shown, before = Text(), ""
    for part, is_span in _parts(text, spans):
        line = escape_controls(_BLANKS.sub(" ", part))
        room = MAX_CELL - len(shown)
        if len(line) > room:
            line = line[: max(room, 0)] + "…"
        if is_span:
            start, end = MARKS if plain else ("", "")
            shown.append(f"{start}{line}{end}", "" if plain else STYLE)
        else:
            shown.append(line.lstrip() if not before else line)
        before = line
        if line.endswith("…") and len(shown) > MAX_CELL:
            break
    shown.rstrip()
    return shown


def _parts(text: str, spans: Sequence[Span]) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a text, each with True for a span; in a long text the parts between spans are shortened."""
    position = 0
    for span in spans:
        yield _gap(text, position, span.start), False
        yield text[span.start : span.end], True
        position = span.end
    yield _gap(text, position, len(text)), False


def _gap(text: str, start: int, end: int) -> str:
    """Return what stands between two spans, of a long text only what is next to them."""
    if len(text) <= MAX_TEXT or end - start <= MAX_GAP:
        return text[start:end]
    head = text[start : start + MAX_GAP // 2] if start else ""
    tail = text[end - MAX_GAP // 2 : end] if end < len(text) else ""
    if not start and end == len(text):  # no spans at all
        return text[:MAX_TEXT] + "…"
    return f"{head}…{tail}"
