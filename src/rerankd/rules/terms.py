"""Search for many terms in one pass over a text (Aho and Corasick 1975, by pyahocorasick)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rerankd._common.optional import require
from rerankd._common.text import is_unspaced, normalized
from rerankd.errors import InvalidRequestError

SLICE_CHARACTERS = 65_536  # the interpreter can run other threads between two slices
EDGE_CHARACTERS = 64  # at a cut edge, where characters that combine with those beyond it are not seen
MAX_GROWTH = 1_000_000


def is_word(char: str) -> bool:
    """Return True if a character belongs to a script that separates words by spaces, unlike Han, kana, hangul and Thai.

    Example:
        >>> is_word("a"), is_word("7"), is_word("手"), is_word("-")
        (True, True, False, False)
    """
    return char.isalnum() and not is_unspaced(char)


class GrowthLimit:
    """Limit on the characters that normalisation adds to the texts of one request: one character can become 18.

    Args:
        characters: characters that may be added.
    """

    def __init__(self, characters: int = MAX_GROWTH) -> None:
        self._left = characters

    def add(self, characters: int) -> None:
        """Count the characters that normalisation added to a text.

        Raises:
            InvalidRequestError: the limit is reached.
        """
        self._left -= max(0, characters)
        if self._left < 0:
            raise InvalidRequestError(
                "Unicode normalisation (NFKC), which rules apply, makes the texts of this request much longer.",
                hint="Write out ligatures such as U+FDFA.",
            )


class TermIndex:
    """An index of terms that finds those which a text contains. Thread-safe.

    A term that begins or ends with a letter or digit of a script with spaces matches whole words: `app` is not in
    `apple`, but `苹果` is in `买苹果手机`.

    Args:
        terms: the terms; duplicates after `normalized` count once.

    Raises:
        MissingDependencyError: pyahocorasick is not installed.

    Example:
        >>> sorted(TermIndex(["app", "苹果"]).matches("My App, 买苹果手机, apple"))
        ['app', '苹果']
    """

    def __init__(self, terms: Iterable[str]) -> None:
        unique = sorted({term for term in map(normalized, terms) if term})
        self._automaton: Any = None
        self._overlap = 0
        if not unique:
            return
        self._automaton = require("ahocorasick", "rules", "Matching terms").Automaton()
        for term in unique:
            self._overlap = max(self._overlap, 4 * (len(term) + 2 * EDGE_CHARACTERS))
            self._automaton.add_word(term, (term, len(term) if is_word(term[0]) else 0, is_word(term[-1])))
        self._automaton.make_automaton()

    def matches(self, text: str, growth: GrowthLimit | None = None) -> set[str]:
        """Return the terms that a text contains, in the form of `normalized`.

        Args:
            text: the text, of any length.
            growth: limit on what normalisation adds to the texts of a request; None for a limit on this text alone.

        Raises:
            InvalidRequestError: normalisation makes the text much longer.
        """
        if self._automaton is None:
            return set()
        growth = growth or GrowthLimit()
        terms: set[str] = set()
        step = SLICE_CHARACTERS
        # A slice overlaps the next by more than a term; what lies at a cut edge is left to the neighbour.
        for start in range(0, max(1, len(text) - self._overlap), step):
            is_last = start + step + self._overlap >= len(text)
            piece = text[start : start + step + self._overlap]
            folded = normalized(piece)
            growth.add(len(folded) - len(piece))
            first = EDGE_CHARACTERS if start else 0
            terms |= self._matches(folded, first, len(folded) - (0 if is_last else EDGE_CHARACTERS))
        return terms

    def _matches(self, folded: str, first: int, stop: int) -> set[str]:
        """Return the terms in `folded` that lie within `first` and `stop`."""
        last, terms = len(folded) - 1, set()
        for end, (term, length, closed) in self._automaton.iter(folded):
            if end >= stop or end - len(term) + 1 < first:
                continue
            # A term has a length here if the character before it must not belong to the same word.
            if closed and end < last and is_word(folded[end + 1]):
                continue
            if length and end >= length and is_word(folded[end - length]):
                continue
            terms.add(term)
        return terms
