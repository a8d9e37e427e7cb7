"""The order of a ranking: rules, fusion, sorting, pins, threshold and cut. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rerankd._common.validation import is_number
from rerankd.errors import InvalidRequestError
from rerankd.ranking.activation import activate
from rerankd.ranking.blanks import blank_positions, lower_blanks
from rerankd.types import (
    Activation,
    Adjustment,
    Document,
    Fusion,
    PairScore,
    RankedDocument,
    RerankRequest,
    Usage,
)

SCORE = "score"
RRF_CONSTANT = 60
MAX_FUSION_WEIGHT = 100.0


def rank_documents(
    documents: Sequence[Document],
    scores: Sequence[PairScore],
    top_n: int | None,
    activation: Activation,
    threshold: float | None = None,
    adjustments: Sequence[Adjustment] = (),
    fusion: Fusion | None = None,
) -> tuple[RankedDocument, ...]:
    """Rank documents by logit and keep the best; documents of equal score stay in request order, blank ones are last.

    Args:
        documents: the documents that were scored.
        scores: one score for each document.
        top_n: number of documents to keep; None keeps all.
        activation: activation of the scores that are returned; the order never depends on it.
        threshold: lowest sigmoid score to keep, which is a probability if the model is calibrated; None keeps all.
            Pinned documents are kept, blank ones are not.
        adjustments: effect of the rules on each document; empty without rules.
        fusion: fusion with the first stage's ranking; None for none.

    Returns:
        The documents that are kept, best first.

    Example:
        >>> scores = [PairScore(-1.0, 5, False), PairScore(2.0, 5, False)]
        >>> [ranked.index for ranked in rank_documents([Document("a"), Document("b")], scores, None, "sigmoid")]
        [1, 0]
    """
    scores, blank = lower_blanks(documents, scores), blank_positions(documents)
    rules = adjustments or [_UNTOUCHED] * len(scores)
    logits = [score.raw_score + rule.boost for score, rule in zip(scores, rules, strict=True)]
    activated = activate(logits, activation)
    order = order_of(documents, scores, adjustments, fusion)
    if top_n is not None:
        order = order[:top_n]
    if threshold is not None:
        passed = activate([logits[i] for i in order], "sigmoid") >= threshold
        passed &= np.array([threshold == 0 or i not in blank for i in order], np.bool_)
        order = [i for i, above in zip(order, passed, strict=True) if above or rules[i].pin_to]
    return tuple(
        RankedDocument(
            index=i,
            document=documents[i],
            relevance_score=float(activated[i]),
            raw_score=scores[i].raw_score,
            rank_before=i + 1,
            rank_after=rank,
            truncated=scores[i].truncated,
            chunks=scores[i].chunks,
            rules=rules[i].matched_rules,
        )
        for rank, i in enumerate(order, start=1)
    )


_UNTOUCHED = Adjustment()


def rank_request(
    request: RerankRequest, scores: Sequence[PairScore], adjustments: Sequence[Adjustment] = ()
) -> tuple[RankedDocument, ...]:
    """Rank the documents of a request with its own options, see `rank_documents`."""
    return rank_documents(
        request.documents,
        scores,
        request.top_n,
        request.activation,
        threshold=request.threshold,
        adjustments=adjustments,
        fusion=request.fusion,
    )


def order_of(
    documents: Sequence[Document],
    scores: Sequence[PairScore],
    adjustments: Sequence[Adjustment] = (),
    fusion: Fusion | None = None,
) -> list[int]:
    """Return the order of the documents: by score, documents of equal score in request order, blank ones, then pins.

    Args:
        documents: the documents: blank ones are last, and fusion reads the others' metadata.
        scores: one score for each document.
        adjustments: effect of the rules on each document; empty without rules.
        fusion: fusion with the first stage's ranking; None for none.

    Returns:
        Positions of the documents in `documents`, best first, without those that rules filter out.

    Example:
        >>> scores = [PairScore(3.0, 5, False), PairScore(2.0, 5, False), PairScore(1.0, 5, False)]
        >>> order_of([Document("")] * 3, scores, [Adjustment(), Adjustment(filtered=True), Adjustment(pin_to=1)])
        [2, 0]
    """
    values = [score.raw_score for score in scores]
    if adjustments:
        values = [value + rule.boost for value, rule in zip(values, adjustments, strict=True)]
    if fusion is not None:
        values = fused(values, first_scores(documents), fusion).tolist()
    blank = blank_positions(documents)
    order = sorted(range(len(values)), key=lambda i: (i in blank, -values[i], i))
    if not adjustments:
        return order
    slots: dict[int, int] = {}
    pinned = [i for i in order if adjustments[i].pin_to and not adjustments[i].filtered]
    for i in sorted(pinned, key=lambda i: adjustments[i].pin_to):  # a stable sort: of two pins the better one is first
        position = adjustments[i].pin_to
        while position in slots:
            position += 1
        slots[position] = i
    others = iter([i for i in order if not adjustments[i].pin_to and not adjustments[i].filtered])
    result: list[int] = []
    while True:
        pinned_here = slots.pop(len(result) + 1, None)
        following = next(others, None) if pinned_here is None else pinned_here
        if following is None:  # pins beyond the end follow in their order
            return [*result, *(slots[position] for position in sorted(slots))]
        result.append(following)


def fused(scores: Sequence[float], first: Sequence[float], fusion: Fusion) -> npt.NDArray[np.float64]:
    """Fuse the model's scores with those of the first stage.

    Weighted fusion adds standardized scores; reciprocal rank fusion (Cormack, Clarke and Buettcher 2009) adds
    `1 / (60 + rank)`.

    Args:
        scores: scores of the model, shape (documents,).
        first: scores of the first stage, in the same shape; if one of them is NaN, the request order counts instead.
        fusion: method and weight.

    Returns:
        One number for each document, shape (documents,), float64; higher is better.

    Example:
        >>> int(fused([2.0, 1.0, 0.0], [0.0, 5.0, 1.0], Fusion("rrf", 1.0)).argmax())
        1
    """
    model, before = np.asarray(scores, np.float64), np.asarray(first, np.float64)
    if not len(model):
        return model
    if np.isnan(before).any():
        before = -np.arange(len(model), dtype=np.float64)
        if fusion.method == "weighted":  # ranks say nothing about distances
            before = 1.0 / (RRF_CONSTANT - before)
    if fusion.method == "rrf":
        return _reciprocal(model) + fusion.weight * _reciprocal(before)
    return standardized(model) + fusion.weight * standardized(before)


def standardized(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the values minus their mean, divided by their standard deviation; zeros if all are equal.

    Example:
        >>> standardized(np.array([1.0, 3.0])).tolist()
        [-1.0, 1.0]
    """
    spread = values.std()
    # Rounding may leave a tiny spread of equal numbers.
    if spread <= 1e-12 * max(1.0, float(np.abs(values).max(initial=0.0))):
        return np.zeros_like(values)
    result: npt.NDArray[np.float64] = (values - values.mean()) / spread
    return result


def _reciprocal(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the reciprocal ranks of values; equal values are ranked in their order."""
    ranks = np.empty(len(values))
    ranks[np.argsort(-values, kind="stable")] = np.arange(1, len(values) + 1)
    return 1.0 / (RRF_CONSTANT + ranks)


def first_scores(documents: Sequence[Document]) -> list[float]:
    """Return the first stage's score of each document, see `first_score`."""
    return [first_score(document) for document in documents]


def first_score(document: Document) -> float:
    """Return the first stage's score of a document, `metadata["score"]`; NaN if there is none.

    Example:
        >>> first_score(Document("text", metadata={"score": 12.5}))
        12.5
    """
    value = document.metadata.get(SCORE) if document.metadata else None
    if not is_number(value) or not math.isfinite(value):
        return math.nan
    return float(value)


def checked_threshold(threshold: float | None) -> float | None:
    """Return a threshold that can be used.

    Args:
        threshold: lowest sigmoid score to keep; None keeps all.

    Raises:
        InvalidRequestError: not a number from 0 to 1.

    Example:
        >>> checked_threshold(0.5)
        0.5
    """
    if threshold is None:
        return None
    if not is_number(threshold) or not 0 <= threshold <= 1:
        raise InvalidRequestError(
            f"threshold is {threshold!r}.", hint="It must be a number from 0 to 1, whatever activation shows."
        )
    return float(threshold)


def checked_fusion(method: str | None, weight: float | None = None) -> Fusion | None:
    """Return the fusion that a request names.

    Args:
        method: `weighted`, `rrf`, `none`, or None for no fusion.
        weight: weight of the first stage, the model's is 1; None for the method's default.

    Raises:
        InvalidRequestError: an unknown method, or a weight that is out of range.

    Example:
        >>> checked_fusion("rrf", 1.0)
        Fusion(method='rrf', weight=1.0)
    """
    if method is None or method == "none":
        return None
    if method not in _DEFAULTS:
        raise InvalidRequestError(f"fusion is {method!r}.", hint="It must be none, weighted or rrf.")
    if weight is None:
        return _DEFAULTS[method]
    if not is_number(weight) or not 0 <= weight <= MAX_FUSION_WEIGHT:
        raise InvalidRequestError(
            f"fusion_weight is {weight!r}.", hint=f"It must be a number from 0 to {MAX_FUSION_WEIGHT:g}."
        )
    return replace(_DEFAULTS[method], weight=float(weight))


_DEFAULTS = {"weighted": Fusion(), "rrf": Fusion("rrf", 1.0)}


def usage_of(scores: Sequence[PairScore]) -> Usage:
    """Return the usage of a request: pairs, tokens and truncated pairs.

    Example:
        >>> usage_of([PairScore(1.0, 12, True), PairScore(0.5, 8, False)])
        Usage(pairs=2, tokens=20, truncated=1, sentences=0)
    """
    return Usage(len(scores), sum(score.tokens for score in scores), sum(score.truncated for score in scores))
