"""Citations in an answer: `[2]` is kept only if there is a passage 2. Works on text as it streams in.

Read as citations: `[2]`, `[1, 3]`, `[1-3]`, `[^2]`, `[passage 2]`, also in full-width brackets. Left alone: code, in
fences and in backticks, and numbers that count no passages: the year in `[2023]`, the index in `rows[0]`, `[0, 1]`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rerankd.retrieval.code_spans import CodeSplitter

_NUMBERS = r"\d{1,4}(?:\s*[-\u2013\u2014~]\s*\d{1,4})?"
_LABEL = r"(?:\^|(?:passages?|sources?|docs?|documents?)\s*)?"
_CITATION = re.compile(
    rf"[\[【［]\s*{_LABEL}(?P<numbers>{_NUMBERS}(?:\s*(?:[,，、;；&]|and)\s*{_LABEL}{_NUMBERS})*)"
    r"\s*(?:†[^\[\]【】］]{0,80})?[\]】］]",
    re.IGNORECASE,
)
_CITATION_START = re.compile(r"[\[【［][^\[\]【】［］]{0,120}$")
_INDEXED = re.compile(r"[A-Za-z0-9_)\]]")  # the end of what an index is of
_RANGE = re.compile(r"(\d{1,4})(?:\s*[-\u2013\u2014~]\s*(\d{1,4}))?")
MAX_RANGE = 50
FIRST_YEAR = 1000
CitedPart = tuple[str, tuple[int, ...]]
"""A part of a text, and the passages that it cites: none for a text between citations."""


def cited_parts(text: str, passages: int) -> list[CitedPart]:
    """Split a text at its citations; joined, the parts give the text again.

    Args:
        text: a checked answer, or a part of one.
        passages: number of passages.

    Returns:
        Parts with the numbers that they cite; none for text between citations, and for code.

    Example:
        >>> cited_parts("Bamboo [1, 2], in `a[1]`.", 2)
        [('Bamboo ', ()), ('[1, 2]', (1, 2)), (', in `a[1]`.', ())]
    """
    splitter, parts = CodeSplitter(), list[CitedPart]()

    def add(part: str, cited: tuple[int, ...] = ()) -> None:
        if part and not cited and parts and not parts[-1][1]:
            part = parts.pop()[0] + part
        if part:
            parts.append((part, cited))

    for part, is_code in splitter.feed(text) + splitter.flush():
        end = 0
        for match in () if is_code else _CITATION.finditer(part):
            before = part[match.start() - 1] if match.start() else (parts[-1][0][-1] if parts else "")
            numbers = _numbers(match["numbers"])
            if not _is_interval(numbers, before) and all(1 <= number <= passages for number in numbers):
                add(part[end : match.start()])
                add(match[0], tuple(numbers))
                end = match.end()
        add(part[end:])
    return parts


class CitationFilter:
    """Passes an answer through and removes invalid citations.

    It looks at numbers only, so nothing that a passage says can change its result.

    Args:
        passages: number of passages; valid citations are 1 to this number.

    Attributes:
        cited: valid numbers, in the order of their first citation.
        invalid: numbers without a passage; they are removed from the text.

    Example:
        >>> citations = CitationFilter(2)
        >>> citations.feed("Pandas eat bamboo [1, 7].") + citations.flush(), citations.cited, citations.invalid
        ('Pandas eat bamboo [1].', [1], [7])
    """

    def __init__(self, passages: int) -> None:
        self._passages, self._pending, self._code = passages, "", CodeSplitter()
        self._last = ""  # character before the pending text
        self.cited: list[int] = []
        self.invalid: list[int] = []

    def feed(self, text: str) -> str:
        """Take the next part of the text; return what can be shown, without the start of an unfinished citation."""
        return "".join(self._checked(part, is_code) for part, is_code in self._code.feed(text))

    def flush(self) -> str:
        """Return the text that was held back for a citation or code that never ended."""
        rest = "".join(self._checked(part, is_code) for part, is_code in self._code.flush())
        return rest + self._released()

    def _checked(self, text: str, is_code: bool) -> str:
        if is_code:
            text = self._released() + text
            self._last = text[-1]
            return text
        text = self._pending + text
        start = _CITATION_START.search(text)
        text, self._pending = (text[: start.start()], start[0]) if start else (text, "")
        checked = _CITATION.sub(self._replace, text)
        self._last = text[-1:] or self._last
        return checked

    def _released(self) -> str:
        rest, self._pending = self._pending, ""
        return rest

    def _replace(self, match: re.Match[str]) -> str:
        before = match.string[match.start() - 1] if match.start() else self._last
        numbers = _numbers(match["numbers"])
        valid = [number for number in numbers if 1 <= number <= self._passages]
        if _is_interval(numbers, before) or (not valid and min(numbers) >= FIRST_YEAR):
            return match[0]
        for number in numbers:
            seen = self.cited if number in valid else self.invalid
            if number not in seen:
                seen.append(number)
        return f"[{', '.join(map(str, valid))}]" if valid else ""


def _is_interval(numbers: Sequence[int], before: str) -> bool:
    """Return True for `[0, 1]` and `rows[0]`, which cite nothing."""
    return 0 in numbers and (len(numbers) > 1 or _INDEXED.match(before) is not None)


def _numbers(text: str) -> list[int]:
    """Return the numbers of a citation, those between the ends of a range included."""
    numbers: list[int] = []
    for match in _RANGE.finditer(text):
        first, last = int(match[1]), int(match[2] or match[1])
        numbers += range(first, last + 1) if first <= last <= first + MAX_RANGE else [first, last]
    return list(dict.fromkeys(numbers))
