"""Positions of the sentences of a text: what is scored for spans. Pure.

Sentences are those of `sentences`. A text without an end of sentence may be one of a megabyte, of which a model reads
the beginning; so a long one is divided where words end.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence

from rerankd._common.characters import is_blank
from rerankd._common.sentences import sentences

MAX_ASCII, MAX_OTHER = 1500, 500  # characters of a sentence, about 400 tokens
MAX_JOINER = 64  # code points of what reads as one character, such as a family of emoji
_BREAK = re.compile(r"\s+|[,;:，；：、]\s*")
_ZERO_WIDTH_JOINER = "\u200d"

Bounds = tuple[int, int]
"""Start and end of a part of a text, in Unicode code points."""


def sentence_bounds(text: str) -> list[Bounds]:
    r"""Return the bounds of the sentences of a text, in order, without the blanks around them.

    Sentences without a visible character are left out, and long ones are divided.

    Example:
        >>> text = "天气好。 Dr. Li left\nat once.\n\n"
        >>> [text[start:end] for start, end in sentence_bounds(text)]
        ['天气好。', 'Dr. Li left\nat once.']
    """
    bounds, position = [], 0
    for sentence in sentences(text):
        for start, end in _divided(sentence):
            part = sentence[start:end]
            visible = part.strip()
            if not is_blank(visible):
                first = position + start + len(part) - len(part.lstrip())
                bounds.append((first, first + len(visible)))
        position += len(sentence)
    return bounds


def joined_bounds(bounds: Sequence[Bounds], limit: int) -> list[Bounds]:
    """Join neighbouring sentences, as evenly as can be, until there are few enough.

    Args:
        bounds: sentences in the order of the text.
        limit: sentences that remain at most, 1 or more.

    Example:
        >>> joined_bounds([(0, 3), (4, 7), (8, 9)], 2)
        [(0, 3), (4, 9)]
    """
    count = len(bounds)
    if count <= limit:
        return list(bounds)
    firsts = [number * count // limit for number in range(limit + 1)]
    return [(bounds[first][0], bounds[after - 1][1]) for first, after in itertools.pairwise(firsts)]


def _divided(sentence: str) -> Iterator[Bounds]:
    """Yield the bounds of the parts of a sentence, which are of about the same length."""
    limit = MAX_ASCII if sentence.isascii() else MAX_OTHER
    start = 0
    while (rest := len(sentence) - start) > limit:
        end = _cut(sentence, start, start + -(-rest // -(-rest // limit)))
        yield start, end
        start = end
    yield start, len(sentence)


def _cut(text: str, start: int, end: int) -> int:
    """Return where to end a part that begins at `start`: behind a word or a comma, or in one where there is none."""
    middle = (start + end) // 2
    breaks = [match.end() for match in _BREAK.finditer(text, middle, end)]
    if breaks:
        return breaks[-1]
    return next((cut for cut in range(end, max(middle, end - MAX_JOINER), -1) if not _is_within(text, cut)), end)


def _is_within(text: str, position: int) -> bool:
    """Return True if a cut would part what reads as one character: a letter and its marks, or the parts of an emoji."""
    before, after = text[position - 1], text[position]
    if _is_regional(before) and _is_regional(after):
        return True
    return (
        unicodedata.category(after)[0] == "M"
        or _ZERO_WIDTH_JOINER in (before, after)
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # skin tones
    )


def _is_regional(char: str) -> bool:
    """Return True for a half of a flag."""
    return "\U0001f1e6" <= char <= "\U0001f1ff"
