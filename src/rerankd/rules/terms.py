"""Search for many terms in one pass over a text (Aho and Corasick 1975, by pyahocorasick)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rerankd._common.optional import require
from rerankd._common.text import is_unspaced, normalized


def is_word(char: str) -> bool:
    """Return True if a character belongs to a script that separates words by spaces, unlike Han, kana, hangul and Thai.

    Example:
        >>> is_word("a"), is_word("7"), is_word("手"), is_word("-")
        (True, True, False, False)
    """
    return char.isalnum() and not is_unspaced(char)


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
        if not unique:
            return
        self._automaton = require("ahocorasick", "rules", "Matching terms").Automaton()
        for term in unique:
            self._automaton.add_word(term, (term, len(term) if is_word(term[0]) else 0, is_word(term[-1])))
        self._automaton.make_automaton()

    def matches(self, text: str) -> set[str]:
        """Return the terms that a text contains, in the form of `normalized`."""
        if self._automaton is None:
            return set()
        folded = normalized(text)
        last, terms = len(folded) - 1, set()
        for end, (term, length, closed) in self._automaton.iter(folded):
            # A term has a length here if the character before it must not belong to the same word.
            if closed and end < last and is_word(folded[end + 1]):
                continue
            if length and end >= length and is_word(folded[end - length]):
                continue
            terms.add(term)
        return terms
