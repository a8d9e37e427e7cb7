"""Near-duplicate passages, which would crowd other passages out of an answer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rerankd._common.text import is_unspaced, normalized
from rerankd.retrieval.keywords import keywords

SHINGLE = 3
DUPLICATE_OVERLAP = 0.8  # share of the shorter text's shingles
# A number with what decides its meaning: the signs before it, and the sign of its unit.
_FIGURE = re.compile(r"[+\-−±<>≤≥~≈$€£¥₹₩]*\d+(?:[.,:/]\d+)*\s?[%‰°′″$€£¥₹₩]?")
# Words on which a statement turns as it does on a number: numerals, months, days and negations.
_DECISIVE = frozenset(
    re.findall(
        r"\w+",
        """
        zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
        eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion half
        third quarter once twice double first second fourth fifth sixth last daily weekly monthly quarterly yearly
        january february march april may june july august september october november december jan feb mar apr jun jul
        aug sep sept oct nov dec monday tuesday wednesday thursday friday saturday sunday spring summer autumn winter
        not no never none without except cannot nor neither 不 未 无 無 非 没 沒 勿 莫 否 半 首 末
        """,
    )
)
Shingles = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class _Text:
    text: str

    @cached_property
    def shingles(self) -> Shingles:
        return shingles(self.text)

    @cached_property
    def facts(self) -> frozenset[object]:
        """The shingles that hold a number or another decisive word, and the numbers with their signs."""
        runs = (run for run in self.shingles if any(map(_is_decisive, run)))
        figures = ("".join(figure.split()) for figure in _FIGURE.findall(normalized(self.text)))
        return frozenset([*runs, *figures])

    def repeats(self, other: _Text, min_overlap: float) -> bool:
        """Return True if a reader of the other text learns nothing from this one."""
        if _overlap(self.shingles, other.shingles) < min_overlap:
            return False
        if len(self.shingles) < min_overlap * len(other.shingles):  # an excerpt
            return self.facts <= other.facts
        return self.facts == other.facts


def duplicates(texts: Sequence[str], min_overlap: float = DUPLICATE_OVERLAP) -> dict[int, int]:
    """Return the positions of texts that repeat an earlier one, each mapped to the position of that one.

    Texts are compared by their shingles: runs of three words, or of three characters in scripts without spaces. Texts
    that differ in a number, a month, a day or a negation are no duplicates.

    Args:
        texts: best first.
        min_overlap: share of the shorter text's shingles, 0 to 1, from which two texts are duplicates.

    Example:
        >>> duplicates(["the cat sat on the mat", "a dog", "the cat sat on the mat today", "the cat sat on 2 mats"])
        {2: 0}
    """
    repeats: dict[int, int] = {}
    kept: list[tuple[int, _Text]] = []
    for position, text in enumerate(map(_Text, texts)):
        original = next((earlier for earlier, other in kept if text.repeats(other, min_overlap)), None)
        if original is None:
            kept.append((position, text))
        else:
            repeats[position] = original
    return repeats


def shingles(text: str) -> Shingles:
    """Return the text's runs of three words, or characters of scripts without spaces; a shorter text is one run."""
    words = [word for word in keywords(text) if len(word) != 2 or not is_unspaced(word[0])]
    if len(words) <= SHINGLE:
        return frozenset([tuple(words)])
    return frozenset(zip(*(words[start:] for start in range(SHINGLE)), strict=False))


def _overlap(left: Shingles, right: Shingles) -> float:
    return len(left & right) / min(len(left), len(right))


def _is_decisive(word: str) -> bool:
    return word in _DECISIVE or any(unicodedata.numeric(char, None) is not None for char in word)
