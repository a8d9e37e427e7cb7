"""Citations in an answer: `[2]` is kept only if there is a passage 2. Works on text as it streams in."""

from __future__ import annotations

import re

_CITATION = re.compile(r"[\[【]\s*(\d{1,4}(?:\s*[,，、;]\s*\d{1,4})*)\s*[\]】]")
_CITATION_START = re.compile(r"[\[【][\d\s,，、;]{0,40}$")


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
        self._passages, self._pending = passages, ""
        self.cited: list[int] = []
        self.invalid: list[int] = []

    def feed(self, text: str) -> str:
        """Take the next part of the text; return what can be shown, without the start of an unfinished citation."""
        text = self._pending + text
        start = _CITATION_START.search(text)
        text, self._pending = (text[: start.start()], start[0]) if start else (text, "")
        return _CITATION.sub(self._replace, text)

    def flush(self) -> str:
        """Return the text that was held back for a citation that never ended."""
        rest, self._pending = self._pending, ""
        return rest

    def _replace(self, match: re.Match[str]) -> str:
        valid = []
        for number in map(int, re.findall(r"\d+", match[1])):
            if 1 <= number <= self._passages:
                valid.append(number)
                if number not in self.cited:
                    self.cited.append(number)
            elif number not in self.invalid:
                self.invalid.append(number)
        return f"[{', '.join(map(str, valid))}]" if valid else ""
