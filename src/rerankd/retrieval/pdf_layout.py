"""Reading order of the lines of a PDF page: columns one after the other, lines joined to paragraphs, words whole."""

from __future__ import annotations

import itertools
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MIN_COLUMN_LINES = 4
_MIN_COLUMN_CHARACTERS = 15  # mean length of the lines of a column; cells of tables are shorter
_MANY_LINES = 8
_HYPHENS = "-\u2010\u00ad"
_BROKEN = re.compile(rf"([^\W\d_]+(?:[-\u2010][^\W\d_]+)*)[{_HYPHENS}]$")
_SUSPENDED = re.compile(r"(?:und|oder|bzw|bis|and|or|to|et|ou|y|o|e)\b")  # "input- and output"
_LIST_ITEM = re.compile(r"(?:[•▪◦‣●–*-]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])\s")
_ENDED = re.compile(r"""[.!?:;。！？：；…]["'”’)\]」』）]*$""")
_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef]")


@dataclass(frozen=True, slots=True)
class Line:
    """A piece of text on one line of a page; coordinates in points, y upwards.

    Attributes:
        text: its text, without line break.
        left: x of its first character.
        right: x of the end of its last character.
        bottom: y of its lowest point.
        top: y of its highest point.
        row: number of the line on the page; pieces of the same row stand side by side.
    """

    text: str
    left: float
    right: float
    bottom: float
    top: float
    row: int


def downwards(pieces: Sequence[Line]) -> list[Line]:
    """Return pieces whose rows go down the page; PDFium begins with the last row if a page is shown turned."""
    rows: dict[int, list[Line]] = {}
    for piece in pieces:
        rows.setdefault(piece.row, []).append(piece)
    feet = [row[0].bottom for row in rows.values()]
    rising = sum(below > above + 1 for above, below in itertools.pairwise(feet))
    if len(feet) < _MIN_COLUMN_LINES or rising < 0.9 * (len(feet) - 1):
        return list(pieces)
    return [piece for row in reversed(rows.values()) for piece in row]


def in_reading_order(pieces: Sequence[Line]) -> list[Line]:
    """Return the lines of a page, one column after the other; pieces of a row that are no columns are joined."""
    gutter = _gutter(pieces)
    if gutter is None:
        return _joined_rows(pieces)
    ordered: list[Line] = []
    left: list[Line] = []
    right: list[Line] = []
    for piece in pieces:
        if piece.left < gutter < piece.right:  # a title over both columns
            ordered += [*in_reading_order(left), *in_reading_order(right), piece]
            left, right = [], []
        else:
            (left if piece.right <= gutter else right).append(piece)
    return [*ordered, *in_reading_order(left), *in_reading_order(right)]


def paragraphs(lines: Sequence[Line], words: Counter[str] | None = None) -> list[str]:
    """Join lines to paragraphs.

    Args:
        lines: lines in reading order.
        words: words of the document with their number, to tell a compound from a word that was broken at a line's end.
    """
    words = words if words is not None else Counter()
    if not lines:
        return []
    pitch = _pitch(lines)
    margin = max(line.right for line in lines)
    paragraph, result = lines[0].text, []
    for above, line in itertools.pairwise(lines):
        if _begins_paragraph(above, line, pitch, margin):
            result.append(paragraph)
            paragraph = line.text
        else:
            paragraph = join(paragraph, line.text, words)
    return [*result, paragraph]


def join(first: str, second: str, words: Counter[str]) -> str:
    """Join two lines of a paragraph; a word that was broken by a hyphen becomes whole again.

    Example:
        >>> join("The war-", "ranty ends.", Counter()), join("a well-", "known fact", Counter(["well-known"]))
        ('The warranty ends.', 'a well-known fact')
        >>> join("input-", "and output", Counter())
        'input- and output'
    """
    first, second = first.rstrip(), second.lstrip()
    broken = _BROKEN.search(first)
    if broken and second[:1].isalpha():
        if first[-1] == "\u00ad":
            return first[:-1] + second
        if _SUSPENDED.match(second):
            return f"{first} {second}"
        rest = re.match(r"[^\W\d_]+", second)
        tail = rest[0] if rest else ""
        compound = f"{broken[1]}-{tail}".lower() in words or "-" in broken[1] or not second[0].islower()
        whole = (broken[1] + tail).lower() in words
        return first + second if compound and not whole else first[:-1] + second
    if first and second and _WIDE.match(first[-1]) and _WIDE.match(second[0]):
        return first + second
    return f"{first} {second}"


def begins_broken(text: str) -> bool:
    """Return True if a text ends within a word that a hyphen breaks."""
    return bool(_BROKEN.search(text.rstrip()))


def _pitch(lines: Sequence[Line]) -> float:
    distances = [a.bottom - b.bottom for a, b in itertools.pairwise(lines) if a.bottom > b.bottom]
    return statistics.median(distances) if distances else 0.0


def _begins_paragraph(above: Line, line: Line, pitch: float, margin: float) -> bool:
    distance = above.bottom - line.bottom
    ended = bool(_ENDED.search(above.text))
    if distance < -1:  # the top of the next column
        return ended
    heights = sorted((max(above.top - above.bottom, 0.1), max(line.top - line.bottom, 0.1)))
    if distance > 1.4 * pitch or heights[1] > 1.6 * heights[0] or _LIST_ITEM.match(line.text):
        return True
    return ended and above.right < margin - 0.15 * (margin - above.left)


def _gutter(pieces: Sequence[Line]) -> float | None:
    """Return the x between two columns of running text; None if there is one column, or a table."""
    gaps = [(a.right, b.left) for a, b in itertools.pairwise(pieces) if a.row == b.row and b.left > a.right]
    if len(gaps) < _MIN_COLUMN_LINES:
        return None
    middle = max(
        ((left + right) / 2 for left, right in gaps), key=lambda x: sum(left < x < right for left, right in gaps)
    )
    both = sum(left < middle < right for left, right in gaps)
    crossing = sum(piece.left < middle < piece.right for piece in pieces)
    sides = (
        [len(piece.text) for piece in pieces if piece.right <= middle],
        [len(piece.text) for piece in pieces if piece.left >= middle],
    )
    if both < _MIN_COLUMN_LINES or crossing > both or not all(sides):
        return None
    if _are_cells([piece.text for piece in pieces if piece.right <= middle]):
        return None
    rows = (
        len({piece.row for piece in pieces if piece.right <= middle}),
        len({p.row for p in pieces if p.left >= middle}),
    )
    lengths = [sum(side) / count for side, count in zip(sides, rows, strict=True)]
    pieces_per_row = max(len(side) / count for side, count in zip(sides, rows, strict=True))
    return middle if min(lengths) >= _MIN_COLUMN_CHARACTERS and pieces_per_row < 2.5 else None


def _are_cells(lines: Sequence[str]) -> bool:
    """Return True if nearly every line begins with a capital or a number: names of rows, not lines of running text."""
    beginning = sum(line[:1].isupper() or line[:1].isdigit() for line in lines)
    return beginning >= (0.9 if len(lines) < _MANY_LINES else 0.75) * len(lines)


def _joined_rows(pieces: Iterable[Line]) -> list[Line]:
    rows: list[Line] = []
    for piece in pieces:
        if rows and rows[-1].row == piece.row:
            last = rows[-1]
            rows[-1] = Line(
                f"{last.text} {piece.text}", min(last.left, piece.left), max(last.right, piece.right),
                min(last.bottom, piece.bottom), max(last.top, piece.top), piece.row,
            )  # fmt: skip
        else:
            rows.append(piece)
    return rows
