"""Sketches of distributions: counts in bins whose width is 2 % of the value, so that quantiles are within 1 %.

Sketches of parts add up to the sketch of the whole. Source: Masson, Rim and Lee 2019, "DDSketch". Values of both signs
are held, those closer to 0 than 0.001 in one bin.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

GROWTH = 1.02
SMALLEST = 1e-3
RELATIVE_ERROR = (GROWTH - 1) / (GROWTH + 1)
LARGEST = 1e18  # bins fit into 16 bits
Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """Counts of values by bin.

    Attributes:
        bins: numbers of the bins, ascending, shape (n,); they rise with the value.
        counts: values in each bin, shape (n,).

    Example:
        >>> sketch = Sketch.of(np.array([1.0, 1.001, 50.0]))
        >>> sketch.counts.tolist()
        [2, 1]
    """

    bins: Counts
    counts: Counts

    @classmethod
    def of(cls, values: Values) -> Sketch:
        """Return the sketch of values, shape (n,)."""
        return cls(*np.unique(bins_of(values), return_counts=True))

    def __len__(self) -> int:
        return int(self.counts.sum())


EMPTY = Sketch(np.empty(0, np.int64), np.empty(0, np.int64))


def bins_of(values: Values) -> Counts:
    """Return the numbers of the bins that values fall into.

    Example:
        >>> bins_of(np.array([-1.0, 0.0, 1.0, 1.1])).tolist()
        [-349, 0, 349, 354]
    """
    magnitudes = np.minimum(np.abs(np.nan_to_num(values)), LARGEST)
    numbers = np.ceil(np.log(np.maximum(magnitudes, SMALLEST) / SMALLEST) / np.log(GROWTH))
    return np.asarray(np.sign(np.nan_to_num(values)) * numbers, np.int64)


def values_of(bins: Counts) -> Values:
    """Return the values that stand for bins: no value of a bin is further than 1 % from it.

    Example:
        >>> values_of(bins_of(np.array([200.0, -3.0]))).round(1).tolist()
        [200.4, -3.0]
    """
    sizes = 2 * SMALLEST * GROWTH ** np.abs(bins) / (GROWTH + 1)
    return np.asarray(np.sign(bins) * sizes, float)


def merge(sketches: Sequence[Sketch]) -> Sketch:
    """Return the sketch of all values of several sketches."""
    if not sketches:
        return EMPTY
    bins = np.concatenate([sketch.bins for sketch in sketches])
    distinct, positions = np.unique(bins, return_inverse=True)
    counts = np.zeros(len(distinct), np.int64)
    np.add.at(counts, positions, np.concatenate([sketch.counts for sketch in sketches]))
    return Sketch(distinct, counts)


def pack_sketches(sketches: Sequence[Sketch]) -> bytes:
    """Return sketches as bytes."""
    parts = []
    for sketch in sketches:
        parts += [_LENGTH.pack(len(sketch.bins)), sketch.bins.astype("<i2").tobytes()]
        parts.append(sketch.counts.astype("<u4").tobytes())
    return b"".join(parts)


def unpack_sketches(data: bytes) -> list[Sketch]:
    """Return the sketches that `pack_sketches` was given.

    Example:
        >>> [len(sketch) for sketch in unpack_sketches(pack_sketches([EMPTY, Sketch.of(np.array([1.0, 2.0]))]))]
        [0, 2]
    """
    sketches, offset = [], 0
    while offset < len(data):
        (count,) = _LENGTH.unpack_from(data, offset)
        offset += _LENGTH.size
        bins = np.frombuffer(data, "<i2", count, offset).astype(np.int64)
        offset += 2 * count
        counts = np.frombuffer(data, "<u4", count, offset).astype(np.int64)
        offset += 4 * count
        sketches.append(Sketch(bins, counts))
    return sketches


@dataclass(frozen=True, eq=False)
class SketchSeries:
    """Sketches of consecutive buckets over the same bins.

    Attributes:
        bins: numbers of the bins, ascending, shape (n,).
        counts: values by bucket and bin, shape (buckets, n).
    """

    bins: Counts
    counts: Counts

    @classmethod
    def of(cls, positions: Sequence[int], sketches: Sequence[Sketch], buckets: int) -> SketchSeries:
        """Return the series of sketches, which add up where several belong to one bucket.

        Args:
            positions: bucket of each sketch, from 0.
            sketches: the sketches.
            buckets: number of buckets.
        """
        if not sketches:
            return cls(np.empty(0, np.int64), np.zeros((buckets, 0), np.int64))
        lengths = [len(sketch.bins) for sketch in sketches]
        rows = np.repeat(np.asarray(positions, np.int64), lengths)
        bins, columns = np.unique(np.concatenate([sketch.bins for sketch in sketches]), return_inverse=True)
        counts = np.zeros((buckets, len(bins)), np.int64)
        np.add.at(counts, (rows, columns), np.concatenate([sketch.counts for sketch in sketches]))
        return cls(bins, counts)

    @property
    def sizes(self) -> Counts:
        """Number of values of each bucket, shape (buckets,)."""
        return np.asarray(self.counts.sum(axis=1), np.int64)

    @functools.cached_property
    def _values(self) -> Values:
        return values_of(self.bins)

    @functools.cached_property
    def _cumulated(self) -> Counts:
        return np.asarray(self.counts.cumsum(axis=1), np.int64)

    def quantile(self, share: float) -> Values:
        """Return a quantile of each bucket, shape (buckets,), interpolated as numpy does; NaN for an empty bucket."""
        if not len(self.bins):
            return np.full(len(self.counts), np.nan)
        sizes, values, cumulated = self.sizes, self._values, self._cumulated
        ranks = share * np.maximum(sizes - 1, 0)
        low, high = (values[(cumulated > rank[:, None]).argmax(axis=1)] for rank in (np.floor(ranks), np.ceil(ranks)))
        return np.asarray(np.where(sizes > 0, low + (high - low) * (ranks % 1), np.nan), float)

    def total_quantile(self, share: float) -> float | None:
        """Return a quantile of all buckets together; None without values."""
        total = SketchSeries(self.bins, self.counts.sum(axis=0, keepdims=True))
        return float(total.quantile(share)[0]) if total.counts.any() else None

    def total(self) -> Sketch:
        """Return the sketch of all buckets together."""
        return Sketch(self.bins, self.counts.sum(axis=0))
