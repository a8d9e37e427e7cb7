"""Drift of top scores over time: scores of any time read from the summaries, and their population stability index."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import and_, or_, select

from rerankd.database import tables
from rerankd.feedback.activity_summaries import STEPS
from rerankd.feedback.monitoring import EVERYONE, psi_of_counts
from rerankd.feedback.sketch import Counts, Sketch, SketchSeries, merge, unpack_sketches, values_of
from rerankd.traces.store import TraceStore

Floats = npt.NDArray[np.float64]


def read_scores(store: TraceStore, since: int, until: int, tenant: str | None = None) -> dict[str, Sketch]:
    """Return the top scores of a time by model; its ends are rounded to minutes, or to what is kept of that time.

    Args:
        store: store of traces.
        since: seconds since 1970.
        until: end, exclusive.
        tenant: tenant; None for all together.
    """
    columns = tables.activity_summary.c
    pieces = [
        and_(columns.step == step, columns.start >= first, columns.start < end)
        for step, first, end in cover(since, until)
    ]
    if not pieces:
        return {}
    query = select(columns.model, columns.data).where(
        columns.tenant == (EVERYONE if tenant is None else tenant), or_(*pieces)
    )
    sketches: dict[str, list[Sketch]] = defaultdict(list)
    with store.connect() as connection:
        for model, data in connection.execute(query):
            sketches[model].append(unpack_sketches(bytes(data))[0])
    return {model: merge(each) for model, each in sketches.items()}


def cover(since: int, until: int) -> list[tuple[int, int, int]]:
    """Return buckets that make up a time, long ones first where they fit: (step, first start, end).

    Example:
        >>> cover(0, 7260)
        [(900, 0, 7200), (60, 7200, 7260)]
    """
    pieces = []
    spans = [(since, until)]
    for step in sorted(STEPS, reverse=True):
        rest = []
        for first, end in spans:
            low, high = -(-first // step) * step, end // step * step
            if high > low:
                pieces.append((step, low, high))
                rest += [(first, low), (high, end)]
            else:
                rest.append((first, end))
        spans = [(first, end) for first, end in rest if end > first]
    return pieces


def drift_series(reference: Sketch, scores: SketchSeries, floor: int, trailing: int = 1) -> Floats:
    """Return the population stability index of each bucket's scores; NaN where there are too few.

    Args:
        reference: scores to compare with.
        scores: scores of the buckets.
        floor: scores that both need.
        trailing: number of buckets, ending with each one, whose scores are taken together.

    Returns:
        Index of each bucket, shape (buckets,).
    """
    cumulated = np.vstack([np.zeros((1, len(scores.bins)), np.int64), scores.counts.cumsum(axis=0)])
    ends = np.arange(1, len(cumulated))
    counts = cumulated[ends] - cumulated[np.maximum(0, ends - trailing)]
    drift = np.full(len(counts), np.nan)
    enough = np.flatnonzero(counts.sum(axis=1) >= floor)
    if len(reference) >= floor and len(enough):
        deciles = _Deciles.of(reference)
        drift[enough] = [deciles.drift(scores) for scores in deciles.count(scores.bins, counts[enough])]
    return drift


def drift(reference: Sketch, scores: Sketch, floor: int) -> float | None:
    """Return the population stability index of scores; None where one of both has fewer than `floor`."""
    if min(len(reference), len(scores)) < floor:
        return None
    deciles = _Deciles.of(reference)
    return deciles.drift(deciles.count(scores.bins, scores.counts[None, :])[0])


@dataclass(frozen=True, slots=True, eq=False)
class _Deciles:
    """Reference scores, divided at their deciles.

    Attributes:
        edges: scores that divide them, ascending, shape (n,).
        counts: scores of the reference between them, shape (n + 1,).
    """

    edges: Floats
    counts: Floats

    @classmethod
    def of(cls, reference: Sketch) -> _Deciles:
        """Return the deciles of a sketch that is not empty."""
        series = SketchSeries(reference.bins, reference.counts[None, :])
        edges = np.unique(np.concatenate([series.quantile(tenth / 10) for tenth in range(1, 10)]))
        [counts] = _between(edges, reference.bins, reference.counts[None, :])
        return cls(edges, counts)

    def count(self, bins: Counts, counts: Counts) -> Floats:
        """Return how many scores of each row fall between the edges, shape (rows, n + 1)."""
        return _between(self.edges, bins, counts)

    def drift(self, counts: Floats) -> float:
        """Return the population stability index of what `count` returns for a row."""
        return psi_of_counts(self.counts, counts)


def _between(edges: Floats, bins: Counts, counts: Counts) -> Floats:
    places = np.searchsorted(edges, values_of(bins), "right")
    return np.asarray(counts @ np.eye(len(edges) + 1)[places], float)
