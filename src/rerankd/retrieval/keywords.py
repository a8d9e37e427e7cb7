"""Keyword tokenization that needs no dictionary: Latin words, and Han text as characters and bigrams."""

from __future__ import annotations

import re

_RUN = re.compile(r"[㐀-鿿]+|[^\W㐀-鿿]+")


def keywords(text: str) -> list[str]:
    """Return the terms of a text: Latin words in lower case, Han text as single characters and bigrams.

    Example:
        >>> keywords("iPhone 手机壳")
        ['iphone', '手', '机', '壳', '手机', '机壳']
    """
    terms: list[str] = []
    for run in _RUN.findall(text.lower()):
        if is_han(run):
            terms += [*run, *(run[start : start + 2] for start in range(len(run) - 1))]
        else:
            terms.append(run)
    return terms


def is_han(term: str) -> bool:
    """Return True if a term consists of Han characters; terms never mix Han and other characters."""
    return "㐀" <= term[0] <= "鿿"
