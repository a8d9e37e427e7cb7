"""Percentile bootstrap intervals of means over queries (Efron and Tibshirani 1993, chapter 13).

Queries are drawn with replacement; all columns are drawn together, which makes intervals of differences paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SAMPLES = 10_000
LEVEL = 0.95
SEED = 20_260_101
_CELLS = 2_000_000  # cells of one block of draws; bounds the memory

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the ends of its bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def resample_counts(queries: int, samples: int = SAMPLES, seed: int = SEED) -> Iterator[Values]:
    """Yield how often each query was drawn in each sample, in blocks that together have shape (samples, queries).

    Example:
        >>> next(resample_counts(3, samples=5)).sum(axis=1).tolist()
        [3.0, 3.0, 3.0, 3.0, 3.0]
    """
    generator = np.random.default_rng(seed)
    rows = max(1, _CELLS // max(1, queries))
    for start in range(0, samples, rows):
        block = min(rows, samples - start)
        drawn = generator.integers(0, queries, size=(block, queries), dtype=np.int32)
        drawn += np.arange(block, dtype=np.int32)[:, None] * queries
        yield np.bincount(drawn.ravel(), minlength=block * queries).reshape(block, queries).astype(np.float64)


def bootstrap_intervals(
    values: Values, *, samples: int = SAMPLES, seed: int = SEED, level: float = LEVEL
) -> tuple[Interval, ...]:
    """Return the bootstrap interval of the mean of each column.

    Args:
        values: shape (queries, columns).
        samples: number of bootstrap samples.
        seed: seed of the draws; the same seed gives the same interval.
        level: share of the sample means inside the interval, such as 0.95.

    Example:
        >>> [str(interval) for interval in bootstrap_intervals(np.array([[0.0], [1.0], [0.0], [1.0]]))]
        ['0.5000 [0.0000, 1.0000]']
    """
    means = np.concatenate([block @ values for block in resample_counts(len(values), samples, seed)]) / len(values)
    tail = (1 - level) / 2
    ends = np.quantile(means, (tail, 1 - tail), axis=0)
    return tuple(
        Interval(float(mean), float(low), float(high))
        for mean, low, high in zip(values.mean(axis=0), *ends, strict=True)
    )
