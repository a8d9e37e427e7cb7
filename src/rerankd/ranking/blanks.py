"""Documents without a visible character: they answer nothing, so they are last. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rerankd._common.characters import is_blank
from rerankd.types import Document, PairScore


def blank_positions(documents: Sequence[Document]) -> frozenset[int]:
    """Return the positions of the documents without a visible character, which answer nothing.

    Example:
        >>> sorted(blank_positions([Document(" "), Document("a"), Document("")]))
        [0, 2]
    """
    return frozenset(i for i, document in enumerate(documents) if is_blank(document.text))


def lower_blanks(documents: Sequence[Document], scores: Sequence[PairScore]) -> Sequence[PairScore]:
    """Return the scores with those of blank documents below all others, so that scores and order agree.

    A model was trained on texts; what it returns for none of them is chance, and may be higher than for any text.

    Args:
        documents: the documents.
        scores: one score for each document; they stay as they are where no document, or every one, is blank.

    Example:
        >>> scores = [PairScore(3.0, 5, False), PairScore(2.0, 7, False)]
        >>> [score.raw_score for score in lower_blanks([Document(" "), Document("a")], scores)]
        [1.0, 2.0]
    """
    blank = blank_positions(documents)
    if not blank or len(blank) == len(scores):
        return scores
    lowest = min(score.raw_score for i, score in enumerate(scores) if i not in blank)
    return [
        replace(score, raw_score=lowest - 1) if i in blank and score.raw_score >= lowest else score
        for i, score in enumerate(scores)
    ]
