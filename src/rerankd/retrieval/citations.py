"""Citations in an answer: `[2]` stays only where a passage 2 was given. Works on text as it streams in."""

from __future__ import annotations

import re

_WHOLE = re.compile(r"[\[【]\s*(\d{1,4}(?:\s*[,，、;]\s*\d{1,4})*)\s*[\]】]")
_BEGUN = re.compile(r"[\[【][\d\s,，、;]{0,40}$")


class CitationCheck:
    """Passes an answer through and checks what it cites. Numbers are all it looks at, so no passage can sway it.

    Args:
        given: passages are numbered from 1 to this.

    Attributes:
        cited: numbers of given passages, in the order of their first citation.
        invalid: numbers that were cited and not given; they are taken out of the text.

    Example:
        >>> check = CitationCheck(2)
        >>> check.feed("Pandas eat bamboo [1, 7].") + check.end(), check.cited, check.invalid
        ('Pandas eat bamboo [1].', [1], [7])
    """

    def __init__(self, given: int) -> None:
        self._given, self._held = given, ""
        self.cited: list[int] = []
        self.invalid: list[int] = []

    def feed(self, text: str) -> str:
        """Take more text; gives back what is settled."""
        held = self._held + text
        begun = _BEGUN.search(held)
        settled, self._held = (held[: begun.start()], begun[0]) if begun else (held, "")
        return _WHOLE.sub(self._checked, settled)

    def end(self) -> str:
        """What was held back for a citation that did not come."""
        rest, self._held = self._held, ""
        return rest

    def _checked(self, match: re.Match[str]) -> str:
        good = []
        for number in map(int, re.findall(r"\d+", match[1])):
            if 1 <= number <= self._given:
                good.append(number)
                if number not in self.cited:
                    self.cited.append(number)
            elif number not in self.invalid:
                self.invalid.append(number)
        return f"[{', '.join(map(str, good))}]" if good else ""
