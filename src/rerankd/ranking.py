"""From scores to a ranking: order, activation, cut. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rerankd.activation import activate
from rerankd.errors import InvalidRequestError
from rerankd.types import Activation, Document, PairScore, RankedDocument, Usage


def rank_documents(
    documents: Sequence[Document],
    scores: Sequence[PairScore],
    top_n: int | None,
    activation: Activation,
    threshold: float | None = None,
) -> tuple[RankedDocument, ...]:
    """Order documents by logit, equal ones as they came, and keep the first.

    Args:
        documents: what was scored.
        scores: one for each.
        top_n: how many to keep; None for all.
        activation: what is shown; the order never depends on it.
        threshold: lowest sigmoid score to keep, which is a probability if the model is calibrated; None for all.

    Example:
        >>> scores = [PairScore(-1.0, 5, False), PairScore(2.0, 5, False)]
        >>> [ranked.index for ranked in rank_documents([Document("a"), Document("b")], scores, None, "sigmoid")]
        [1, 0]
    """
    activated = activate([score.raw_score for score in scores], activation)
    order = sorted(range(len(scores)), key=lambda i: (-scores[i].raw_score, i))
    kept = order if top_n is None else order[:top_n]
    if threshold is not None:
        passed = activate([scores[i].raw_score for i in kept], "sigmoid") >= threshold
        kept = [i for i, good in zip(kept, passed, strict=True) if good]
    return tuple(
        RankedDocument(
            index=i,
            document=documents[i],
            relevance_score=float(activated[i]),
            raw_score=scores[i].raw_score,
            rank_before=i + 1,
            rank_after=place,
            truncated=scores[i].truncated,
            chunks=scores[i].chunks,
        )
        for place, i in enumerate(kept, start=1)
    )


def checked_threshold(threshold: float | None) -> float | None:
    """A threshold that a score can pass.

    Raises:
        InvalidRequestError: no number from 0 to 1.

    Example:
        >>> checked_threshold(0.5)
        0.5
    """
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise InvalidRequestError(
            f"threshold is {threshold!r}.", hint="It is a number from 0 to 1, whatever activation shows."
        )
    return float(threshold)


def usage_of(scores: Sequence[PairScore]) -> Usage:
    """What scores cost."""
    return Usage(len(scores), sum(score.tokens for score in scores), sum(score.truncated for score in scores))
