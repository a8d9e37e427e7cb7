"""Many terms found in one pass over a text (Aho and Corasick 1975, by pyahocorasick)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

from rerankd._common.optional import require


def normalized(text: str) -> str:
    """A text as terms are compared: compatibility forms folded, case ignored.

    Example:
        >>> normalized("ＡＩ Straße")
        'ai strasse'
    """
    plain = text.isascii() or unicodedata.is_normalized("NFKC", text)
    return (text if plain else unicodedata.normalize("NFKC", text)).casefold()


def is_word(char: str) -> bool:
    """Whether a character belongs to words that spaces part; Han, kana and hangul do not.

    Example:
        >>> is_word("a"), is_word("7"), is_word("手"), is_word("-")
        (True, True, False, False)
    """
    return char.isalnum() and not "\u2e80" <= char <= "\ud7ff" and not "\uf900" <= char <= "\ufaff"


class TermIndex:
    """Finds which of many terms a text has. Thread-safe once made.

    A term that begins or ends with a letter or digit of a spaced script matches whole words there: `app` is not in
    `apple`, but `苹果` is in `买苹果手机`.

    Args:
        terms: what to find; equal ones after `normalized` count once.

    Raises:
        MissingDependencyError: pyahocorasick is not installed.

    Example:
        >>> sorted(TermIndex(["app", "苹果"]).found("My App, 买苹果手机, apple"))
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

    def found(self, text: str) -> set[str]:
        """The terms that a text has, as `normalized` writes them."""
        if self._automaton is None:
            return set()
        plain = normalized(text)
        last, terms = len(plain) - 1, set()
        for end, (term, length, closed) in self._automaton.iter(plain):
            # A length is given where the character before must not belong to the same word.
            if closed and end < last and is_word(plain[end + 1]):
                continue
            if length and end >= length and is_word(plain[end - length]):
                continue
            terms.add(term)
        return terms
