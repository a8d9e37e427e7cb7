"""Near-duplicate passages, which would crowd other passages out of an answer."""

from __future__ import annotations

from collections.abc import Sequence

from rerankd._common.text import is_unspaced
from rerankd.retrieval.keywords import keywords

SHINGLE = 3
DUPLICATE_OVERLAP = 0.8  # share of the shorter text's shingles


def duplicates(texts: Sequence[str], min_overlap: float = DUPLICATE_OVERLAP) -> dict[int, int]:
    """Return the positions of texts that repeat an earlier one, each mapped to the position of that one.

    Texts are compared by their shingles: runs of three words, or of three Han characters.

    Args:
        texts: best first.
        min_overlap: share of the shorter text's shingles, 0 to 1, from which two texts are duplicates.

    Example:
        >>> duplicates(["the cat sat on the mat", "a dog", "the cat sat on the mat today"])
        {2: 0}
    """
    repeats: dict[int, int] = {}
    kept: list[tuple[int, frozenset[tuple[str, ...]]]] = []
    for position, text in enumerate(texts):
        runs = shingles(text)
        original = next((earlier for earlier, other in kept if _overlap(runs, other) >= min_overlap), None)
        if original is None:
            kept.append((position, runs))
        else:
            repeats[position] = original
    return repeats


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Return the text's runs of three words, or of three Han characters; a shorter text is one run."""
    words = [word for word in keywords(text) if len(word) != 2 or not is_unspaced(word[0])]
    if len(words) <= SHINGLE:
        return frozenset([tuple(words)])
    return frozenset(zip(*(words[start:] for start in range(SHINGLE)), strict=False))


def _overlap(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]) -> float:
    return len(left & right) / min(len(left), len(right))
