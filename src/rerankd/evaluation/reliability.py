"""Whether scores mean what they say: reliability diagram, expected calibration error and Brier score.

ECE (Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017) over bins of equal width: the mean distance of a bin's score
from its share of relevant pairs, bins weighing by their pairs. It cannot be negative and is biased upwards where pairs
are few. Brier (1950) is the mean squared error. Intervals draw whole queries, since pairs of a query belong together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rerankd.evaluation.bootstrap import LEVEL, Interval, draws

BINS = 10
SAMPLES = 2_000

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs whose scores lie together.

    Attributes:
        low: lower end of the scores.
        high: upper end.
        score: their mean score.
        relevant: share of them that is relevant.
        pairs: how many they are.
    """

    low: float
    high: float
    score: float
    relevant: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """A reliability diagram in numbers; bins without pairs are left out."""

    bins: tuple[Bin, ...]
    ece: Interval
    brier: Interval
    pairs: int
    relevant: int


def reliability(
    probabilities: Values, labels: Values, groups: Sequence[str], *, bins: int = BINS, samples: int = SAMPLES
) -> Reliability:
    """Hold scores against labels.

    Args:
        probabilities: from 0 to 1, shape (pairs,).
        labels: 1 for relevant, 0 for not, shape (pairs,).
        groups: query of each pair.
        bins: of equal width.
        samples: of the bootstrap.

    Example:
        >>> found = reliability(np.array([0.1, 0.9]), np.array([0.0, 1.0]), ["a", "b"])
        >>> round(found.ece.mean, 3), round(found.brier.mean, 3)
        (0.1, 0.01)
    """
    places = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    _, owner = np.unique(np.asarray(groups), return_inverse=True)
    owners, cell = int(owner.max()) + 1, owner * bins + places

    def per_owner(values: Values) -> Values:
        return np.bincount(cell, weights=values, minlength=owners * bins).reshape(owners, bins).astype(np.float64)

    pairs, scores, relevant = per_owner(np.ones_like(labels)), per_owner(probabilities), per_owner(labels)
    squares = np.bincount(owner, weights=(probabilities - labels) ** 2, minlength=owners)
    gaps, errors = [], []
    for block in draws(owners, samples):
        count = (block @ pairs).sum(axis=1)
        gaps.append(np.abs(block @ (scores - relevant)).sum(axis=1) / count)
        errors.append(block @ squares / count)
    totals = pairs.sum(axis=0), scores.sum(axis=0), relevant.sum(axis=0)
    found = tuple(
        Bin(i / bins, (i + 1) / bins, float(score / count), float(good / count), int(count))
        for i, (count, score, good) in enumerate(zip(*totals, strict=True))
        if count
    )
    ece = float(np.abs(totals[1] - totals[2]).sum()) / len(labels)
    return Reliability(
        found,
        _interval(ece, gaps),
        _interval(float(squares.sum()) / len(labels), errors),
        len(labels),
        int(labels.sum()),
    )


def _interval(value: float, blocks: Sequence[Values]) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.concatenate(list(blocks)), (tail, 1 - tail))
    return Interval(value, float(low), float(high))
