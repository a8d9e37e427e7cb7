"""Passages that say the same: copies and near copies, which would take the place of others in an answer."""

from __future__ import annotations

from collections.abc import Sequence

from rerankd.retrieval.keywords import is_han, keywords

SHINGLE = 3
SAME = 0.8  # of the shorter one's shingles


def duplicates(texts: Sequence[str], share: float = SAME) -> dict[int, int]:
    """Places of texts that repeat an earlier one, each with the place of that one.

    Two texts are the same where they share so much of the shorter one's runs of three words, or Han characters.

    Args:
        texts: the best first.
        share: from 0 to 1.

    Example:
        >>> duplicates(["the cat sat on the mat", "a dog", "the cat sat on the mat today"])
        {2: 0}
    """
    found: dict[int, int] = {}
    kept: list[tuple[int, frozenset[tuple[str, ...]]]] = []
    for place, text in enumerate(texts):
        own = shingles(text)
        same = next((other for other, theirs in kept if _alike(own, theirs) >= share), None)
        if same is None:
            kept.append((place, own))
        else:
            found[place] = same
    return found


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Runs of three words; Han texts by character. Short texts are one run."""
    words = [word for word in keywords(text) if len(word) != 2 or not is_han(word)]
    if len(words) <= SHINGLE:
        return frozenset([tuple(words)])
    return frozenset(zip(*(words[start:] for start in range(SHINGLE)), strict=False))


def _alike(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    return len(one & other) / min(len(one), len(other))
