"""The characters of a PDF page as pieces of lines, as PDFium gives them, upright whatever way the page is turned."""

from __future__ import annotations

import ctypes
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rerankd.retrieval.formulas import superscript_mark
from rerankd.retrieval.pdf_layout import Line

_LINE_HYPHENS = frozenset(["\x02", "\ufffe"])  # PDFium's signs for a hyphen at a line's end
_LIGATURES = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
_GAP = 1.2  # a gap of so many heights of a letter separates columns
_SAMPLE = 200  # characters that tell which way the text of a page runs
_SMALLER, _RAISED = 0.9, 0.2  # size and height of a superscript, as shares of the character before it
_LOOK_AHEAD = 4

Box = tuple[float, float, float, float]
"""Left, right, bottom and top in points."""


class PdfText:
    """The text of one page.

    Args:
        raw: PDFium's functions.
        text_page: the page's text; the caller closes it.
    """

    def __init__(self, raw: Any, text_page: Any) -> None:
        self._raw, self._text_page, self._count = raw, text_page, text_page.count_chars()
        self._edges = [ctypes.c_double() for _ in range(4)]
        self._quarters = self._direction()

    def pieces(self) -> Iterator[Line]:
        """Yield the pieces of text of the page, line by line, cut at wide gaps."""
        row = 0
        letters: list[str] = []
        box: Box | None = None
        for index in range(self._count):
            char = self._character(index)
            if char in _LINE_HYPHENS:
                letters.append("-")
            if char in "\r\n" or char in _LINE_HYPHENS:
                if letters and box:
                    yield _line(letters, box, row)
                letters, box = [], None
                row += char != "\r"
                continue
            place = self._box(index) if char != " " else None
            if place is None:
                letters.append(char)
                continue
            if box and place[0] - box[1] > _GAP * (box[3] - box[2]) > 0:
                yield _line(letters, box, row)
                letters, box = [], None
            elif letters and (char.isalnum() or char in "+-−–") and self._is_raised(index, letters[-1]):
                letters.append(superscript_mark("".join(letters[-8:]), self._word(index)))
            letters.append(char)
            box = _around(box, place) if box else place
        if letters and box:
            yield _line(letters, box, row)

    def _direction(self) -> int:
        """Return by how many quarters of a turn most of the text runs clockwise from left to right."""
        turns: Counter[int] = Counter()
        for index in range(0, self._count, max(1, self._count // _SAMPLE)):
            if not self._character(index).isspace():
                angle = self._raw.FPDFText_GetCharAngle(self._text_page, index)
                turns[round(angle / (math.pi / 2)) % 4] += 1
        return turns.most_common(1)[0][0] if turns else 0

    def _box(self, index: int) -> Box | None:
        """Return the place of a character on the page turned so that its text runs from left to right."""
        if not self._raw.FPDFText_GetCharBox(self._text_page, index, *map(ctypes.byref, self._edges)):
            return None
        left, right, bottom, top = (edge.value for edge in self._edges)
        if self._quarters == 1:
            return -top, -bottom, left, right
        if self._quarters == 2:
            return -right, -left, -top, -bottom
        return (bottom, top, -right, -left) if self._quarters == 3 else (left, right, bottom, top)

    def _is_raised(self, index: int, before: str) -> bool:
        """Return True if a character is smaller than the one before it and stands above its foot."""
        if not before.isalnum() and before not in ")]":
            return False
        size, size_before = (self._raw.FPDFText_GetFontSize(self._text_page, at) for at in (index, index - 1))
        if size >= _SMALLER * size_before:
            return False
        place, place_before = self._box(index), self._box(index - 1)
        if place is None or place_before is None:
            return False
        return place[2] > place_before[2] + _RAISED * (place_before[3] - place_before[2])

    def _word(self, index: int) -> str:
        text = "".join(self._character(at) for at in range(index, min(index + _LOOK_AHEAD, self._count)))
        return text.split()[0] if text.strip() else ""

    def _character(self, index: int) -> str:
        code = self._raw.FPDFText_GetUnicode(self._text_page, index)
        char = chr(code) if 0 < code < 0x110000 else "\ufffd"
        if char in "\t\xa0\v\f":
            return " "
        return _LIGATURES.get(char, char)


def _around(box: Box, place: Box) -> Box:
    return min(box[0], place[0]), max(box[1], place[1]), min(box[2], place[2]), max(box[3], place[3])


def _line(letters: list[str], box: Box, row: int) -> Line:
    text = " ".join("".join(letters).split())
    return Line(text[:-1].replace("\xad", "") + text[-1:], box[0], box[1], box[2], box[3], row)
