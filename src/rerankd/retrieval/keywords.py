"""Keyword tokenization that needs no dictionary: words, and characters and bigrams of scripts without spaces."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rerankd._common.text import UNSPACED, is_unspaced, normalized, separated
from rerankd.errors import InvalidRequestError

MAX_QUERY_KEYWORDS = 2048  # an index reads a list for each of them
MAX_WORD_BYTES = 60  # the indexes leave out longer terms
# Marks that belong to the letter before them, for `\w` has none: accents without a composed letter, vowel points, and
# the vowel signs of the scripts of India and Tibet.
_MARKS = (
    "\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0971-\u0dff\u0f71-\u0f84\u0f90-\u0fbc"
)
_RUN = re.compile(f"[{UNSPACED}]+|[^\\W{UNSPACED}](?:[^\\W{UNSPACED}]|[{_MARKS}])*")


def keywords(text: str) -> list[str]:
    """Return the terms of a text in their normalized form, by which documents and queries are matched.

    Words are terms. Han, kana, hangul, Thai and other scripts without spaces give single characters and bigrams. A word
    of more than `MAX_WORD_BYTES` bytes gives several terms.

    Example:
        >>> keywords("iPhone 手机壳")
        ['iphone', '手', '机', '壳', '手机', '机壳']
        >>> keywords("Ｋettle\\u200bWarmer")
        ['kettlewarmer']
    """
    terms: list[str] = []
    for run in _RUN.findall(normalized(separated(text))):
        if is_unspaced(run[0]):
            terms += [char for char in run if char.isalnum()]
            terms += [run[start : start + 2] for start in range(len(run) - 1)]
        elif len(run) <= MAX_WORD_BYTES // 4:  # at most four bytes a character
            terms.append(run)
        else:
            terms += _pieces(run)
    return terms


def word_runs(text: str) -> Iterator[tuple[int, str]]:
    """Yield the words of a text as they are written, and its runs of characters of scripts without spaces.

    Args:
        text: the text.

    Yields:
        Position and characters of each.

    Example:
        >>> list(word_runs("the iPhone 手机壳"))
        [(0, 'the'), (4, 'iPhone'), (11, '手机壳')]
    """
    for match in _RUN.finditer(text):
        yield match.start(), match[0]


def query_keywords(query: str) -> list[str]:
    """Return the different terms of a query, in order.

    Raises:
        InvalidRequestError: the query has more than `MAX_QUERY_KEYWORDS` of them; none is left out in silence.

    Example:
        >>> query_keywords("the kettle and the lid")
        ['the', 'kettle', 'and', 'lid']
    """
    terms = list(dict.fromkeys(keywords(query)))
    if len(terms) > MAX_QUERY_KEYWORDS:
        raise InvalidRequestError(
            f"The query has {len(terms):,} different words; at most {MAX_QUERY_KEYWORDS:,} can be searched.",
            hint="Ask a shorter question.",
        )
    return terms


def _pieces(word: str) -> Iterator[str]:
    """Cut a word into terms of at most `MAX_WORD_BYTES` bytes; most words are one."""
    start = size = 0
    for position, char in enumerate(word):
        width = len(char.encode(errors="replace"))
        if size + width > MAX_WORD_BYTES:
            yield word[start:position]
            start, size = position, 0
        size += width
    yield word[start:]
