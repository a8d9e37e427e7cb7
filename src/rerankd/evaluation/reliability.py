"""Reliability of scores as probabilities: reliability diagram, expected calibration error and Brier score.

ECE (Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017) over bins of equal width: the mean distance between a bin's
score and its share of relevant pairs, bins weighted by their pairs. It cannot be negative and is biased upwards where
pairs are few. The Brier score (Brier 1950) is the mean squared error. Bootstrap intervals draw whole queries, because
pairs of a query are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rerankd.evaluation.bootstrap import LEVEL, Interval, resample_counts

BINS = 10
SAMPLES = 2_000

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Pairs with similar scores.

    Attributes:
        low: lower end of the scores.
        high: upper end of the scores.
        score: mean score.
        relevant: share of relevant pairs.
        pairs: number of pairs.
    """

    low: float
    high: float
    score: float
    relevant: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """A reliability diagram in numbers.

    Attributes:
        bins: bins of equal width; empty ones are left out.
        ece: expected calibration error.
        brier: Brier score.
        pairs: number of pairs.
        relevant: number of relevant pairs.
    """

    bins: tuple[ReliabilityBin, ...]
    ece: Interval
    brier: Interval
    pairs: int
    relevant: int


def measure_reliability(
    probabilities: Values, labels: Values, query_ids: Sequence[str], *, bins: int = BINS, samples: int = SAMPLES
) -> Reliability:
    """Compare scores with labels.

    Args:
        probabilities: scores from 0 to 1, shape (pairs,).
        labels: 1 for relevant, 0 for irrelevant, shape (pairs,).
        query_ids: query of each pair.
        bins: number of bins of equal width.
        samples: number of bootstrap samples.

    Example:
        >>> result = measure_reliability(np.array([0.1, 0.9]), np.array([0.0, 1.0]), ["a", "b"])
        >>> round(result.ece.mean, 3), round(result.brier.mean, 3)
        (0.1, 0.01)
    """
    bin_of = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    _, query_of = np.unique(np.asarray(query_ids), return_inverse=True)
    queries, cell_of = int(query_of.max()) + 1, query_of * bins + bin_of

    def by_query_and_bin(values: Values) -> Values:
        sums = np.bincount(cell_of, weights=values, minlength=queries * bins)
        return sums.reshape(queries, bins).astype(np.float64)

    pairs, scores, relevant = map(by_query_and_bin, (np.ones_like(labels), probabilities, labels))
    squared_errors = np.bincount(query_of, weights=(probabilities - labels) ** 2, minlength=queries)
    ece_samples, brier_samples = [], []
    for counts in resample_counts(queries, samples):
        total = (counts @ pairs).sum(axis=1)
        ece_samples.append(np.abs(counts @ (scores - relevant)).sum(axis=1) / total)
        brier_samples.append(counts @ squared_errors / total)
    totals = pairs.sum(axis=0), scores.sum(axis=0), relevant.sum(axis=0)
    ece = float(np.abs(totals[1] - totals[2]).sum()) / len(labels)
    return Reliability(
        bins=tuple(
            ReliabilityBin(
                low=position / bins,
                high=(position + 1) / bins,
                score=float(score_sum / count),
                relevant=float(relevant_count / count),
                pairs=int(count),
            )
            for position, (count, score_sum, relevant_count) in enumerate(zip(*totals, strict=True))
            if count
        ),
        ece=_interval(ece, ece_samples),
        brier=_interval(float(squared_errors.sum()) / len(labels), brier_samples),
        pairs=len(labels),
        relevant=int(labels.sum()),
    )


def _interval(value: float, blocks: Sequence[Values]) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.concatenate(list(blocks)), (tail, 1 - tail))
    return Interval(value, float(low), float(high))
