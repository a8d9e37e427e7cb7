"""From scores to a ranking: rules, fusion, order, activation, cut. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rerankd.errors import InvalidRequestError
from rerankd.ranking.activation import activate
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
    """Order documents by logit, equal ones as they came, and keep the first.

    Args:
        documents: what was scored.
        scores: one for each.
        top_n: how many to keep; None for all.
        activation: what is shown; the order never depends on it.
        threshold: lowest sigmoid score to keep, which is a probability if the model is calibrated; None for all.
            Pinned documents stay.
        adjustments: what rules do to each document; empty without rules.
        fusion: how the first stage counts in the order; None for not at all.

    Example:
        >>> scores = [PairScore(-1.0, 5, False), PairScore(2.0, 5, False)]
        >>> [ranked.index for ranked in rank_documents([Document("a"), Document("b")], scores, None, "sigmoid")]
        [1, 0]
    """
    rules = adjustments or [_UNTOUCHED] * len(scores)
    logits = [score.raw_score + rule.boost for score, rule in zip(scores, rules, strict=True)]
    activated = activate(logits, activation)
    kept = order_of(documents, scores, adjustments, fusion)
    if top_n is not None:
        kept = kept[:top_n]
    if threshold is not None:
        passed = activate([logits[i] for i in kept], "sigmoid") >= threshold
        kept = [i for i, good in zip(kept, passed, strict=True) if good or rules[i].pin_to]
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
            rules=rules[i].matched_rules,
        )
        for place, i in enumerate(kept, start=1)
    )


_UNTOUCHED = Adjustment()


def rank_request(
    request: RerankRequest, scores: Sequence[PairScore], adjustments: Sequence[Adjustment] = ()
) -> tuple[RankedDocument, ...]:
    """`rank_documents` with what a request asks for."""
    asked = (request.top_n, request.activation, request.threshold, adjustments, request.fusion)
    return rank_documents(request.documents, scores, *asked)


def order_of(
    documents: Sequence[Document],
    scores: Sequence[PairScore],
    adjustments: Sequence[Adjustment] = (),
    fusion: Fusion | None = None,
) -> list[int]:
    """Places of the documents that are shown, best first: by score, equal ones as they came, then pins.

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
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    if not adjustments:
        return order
    slots: dict[int, int] = {}
    pinned = [i for i in order if adjustments[i].pin_to and not adjustments[i].filtered]
    for i in sorted(pinned, key=lambda i: adjustments[i].pin_to):  # a stable sort: of two pins the better one is first
        place = adjustments[i].pin_to
        while place in slots:
            place += 1
        slots[place] = i
    others = iter([i for i in order if not adjustments[i].pin_to and not adjustments[i].filtered])
    found: list[int] = []
    while True:
        wanted = slots.pop(len(found) + 1, None)
        following = next(others, None) if wanted is None else wanted
        if following is None:
            return [*found, *(slots[place] for place in sorted(slots))]
        found.append(following)


def fused(scores: Sequence[float], first: Sequence[float], fusion: Fusion) -> npt.NDArray[np.float64]:
    """The model's and the first stage's scores as one number for each document.

    Args:
        scores: of the model, shape (documents,).
        first: of the first stage; where one of them is NaN, the places that documents came in count instead.
        fusion: how.

    Example:
        >>> int(fused([2.0, 1.0, 0.0], [0.0, 5.0, 1.0], Fusion("rrf", 1.0)).argmax())
        1
    """
    model, before = np.asarray(scores, np.float64), np.asarray(first, np.float64)
    if not len(model):
        return model
    if np.isnan(before).any():
        before = -np.arange(len(model), dtype=np.float64)
        if fusion.method == "weighted":  # places are no measure of distance
            before = 1.0 / (RRF_CONSTANT - before)
    if fusion.method == "rrf":
        return _reciprocal(model) + fusion.weight * _reciprocal(before)
    return standardized(model) + fusion.weight * standardized(before)


def standardized(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Values less their mean, over their standard deviation; zeros where all are equal.

    Example:
        >>> standardized(np.array([1.0, 3.0])).tolist()
        [-1.0, 1.0]
    """
    spread = values.std()
    # Of equal numbers rounding may leave a spread that is none.
    if spread <= 1e-12 * max(1.0, float(np.abs(values).max(initial=0.0))):
        return np.zeros_like(values)
    result: npt.NDArray[np.float64] = (values - values.mean()) / spread
    return result


def _reciprocal(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Reciprocal places, equal values in the order they came."""
    places = np.empty(len(values))
    places[np.argsort(-values, kind="stable")] = np.arange(1, len(values) + 1)
    return 1.0 / (RRF_CONSTANT + places)


def first_scores(documents: Sequence[Document]) -> list[float]:
    """`first_score` of each."""
    return [first_score(document) for document in documents]


def first_score(document: Document) -> float:
    """What the first stage said of a document, where the caller has put it into `metadata`; NaN elsewhere.

    Example:
        >>> first_score(Document("text", metadata={"score": 12.5}))
        12.5
    """
    value = document.metadata.get(SCORE) if document.metadata else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return math.nan
    return float(value)


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


def checked_fusion(method: str | None, weight: float | None = None) -> Fusion | None:
    """A fusion by its name; None and `none` are no fusion.

    Raises:
        InvalidRequestError: no such method, or a weight out of range.

    Example:
        >>> checked_fusion("rrf", 1.0)
        Fusion(method='rrf', weight=1.0)
    """
    if method is None or method == "none":
        return None
    if method not in _USUAL:
        raise InvalidRequestError(f"fusion is {method!r}.", hint="It is none, weighted or rrf.")
    if weight is None:
        return _USUAL[method]
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= MAX_FUSION_WEIGHT:
        raise InvalidRequestError(
            f"fusion_weight is {weight!r}.", hint=f"It is a number from 0 to {MAX_FUSION_WEIGHT:g}."
        )
    return replace(_USUAL[method], weight=float(weight))


_USUAL = {"weighted": Fusion(), "rrf": Fusion("rrf", 1.0)}


def usage_of(scores: Sequence[PairScore]) -> Usage:
    """What scores cost."""
    return Usage(len(scores), sum(score.tokens for score in scores), sum(score.truncated for score in scores))
