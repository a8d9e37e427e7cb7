"""Monitoring over time: what the summaries and judged rankings say of each bucket of a window.

The definitions are those of `rerankd.feedback.monitoring`, with two differences: quantiles are within 1 % (see
`rerankd.feedback.sketch`), and feedback counts at the time of the ranking that it is on, so that it can be compared
with the releases of that time.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Integer, Select, and_, case, func, literal_column, select

from rerankd.database import tables
from rerankd.database.tables import SUMMARY_COUNTS, SUMMARY_TOTALS
from rerankd.feedback.activity_summaries import HOUR, MINUTE, STAGES, refresh_summaries
from rerankd.feedback.judged_rankings import refresh_judged_rankings
from rerankd.feedback.monitoring import EVERYONE
from rerankd.feedback.sketch import SketchSeries, unpack_sketches
from rerankd.traces.store import TraceStore

FEEDBACK_SUMS = ("judged", "chosen", "rejected", "before", "after", "squares")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TimeBuckets:
    """Consecutive buckets of equal length; their starts are multiples of it since 1970.

    Attributes:
        since: start of the first bucket, seconds since 1970.
        step: length of a bucket in seconds.
        count: number of buckets.
    """

    since: int
    step: int
    count: int

    @classmethod
    def ending(cls, now: float, step: int, count: int) -> TimeBuckets:
        """Return buckets the last of which contains a time.

        Example:
            >>> TimeBuckets.ending(130, 60, 2)
            TimeBuckets(since=60, step=60, count=2)
        """
        return cls(int(now // step - count + 1) * step, step, count)

    @property
    def until(self) -> int:
        """End of the last bucket."""
        return self.since + self.step * self.count

    @property
    def starts(self) -> list[int]:
        """Start of each bucket."""
        return list(range(self.since, self.until, self.step))


WINDOWS = {"1h": (MINUTE, 60), "24h": (15 * MINUTE, 96), "7d": (3 * HOUR, 56), "30d": (12 * HOUR, 60)}
"""Length and number of the buckets of each window that pages show."""


@dataclass(frozen=True, slots=True, eq=False)
class ActivitySeries:
    """Rankings of a model in each bucket; arrays have the shape (buckets,).

    Attributes:
        buckets: the buckets.
        sums: the columns `SUMMARY_COUNTS` and `SUMMARY_TOTALS`.
        scores: top scores of rankings that showed a document.
        latencies: milliseconds of rankings that somebody waited for, by stage.
        versions: rankings by version of the model.
        first_seen: time of the first ranking of each version in a bucket, seconds since 1970; NaN for none.
        feedback: `FEEDBACK_SUMS`: rankings with a judgement, with a chosen document, with a rejection; sums of the
            reciprocal rank of the best chosen document before and after, and of the squares of the difference.
    """

    buckets: TimeBuckets
    sums: Mapping[str, Floats]
    scores: SketchSeries
    latencies: Mapping[str, SketchSeries]
    versions: Mapping[str, Floats]
    first_seen: Mapping[str, Floats]
    feedback: Mapping[str, Floats]

    def share(self, part: str, whole: str) -> Floats:
        """Return one sum divided by another in each bucket; NaN where that is 0."""
        return ratio(self.sums[part], self.sums[whole])

    def mean(self, name: str) -> Floats:
        """Return the mean of `tau`, `rbo`, `promotion` or `margin` in each bucket."""
        return self.share(f"{name}_total", f"{name}_count")


@dataclass(frozen=True, slots=True)
class ActivityTotals:
    """Rankings of a model for a tenant, or for all (`*`), in a window."""

    model: str
    tenant: str
    sums: Mapping[str, float] = field(default_factory=dict)
    feedback: Mapping[str, float] = field(default_factory=dict)


def ratio(part: Floats, whole: Floats) -> Floats:
    """Return `part / whole`, NaN where `whole` is 0."""
    result = np.full(len(whole), np.nan)
    np.divide(part, whole, out=result, where=whole != 0)
    return result


def refresh_activity(store: TraceStore, seconds: float, *, now: float | None = None) -> bool:
    """Bring summaries and judged rankings up to date.

    Args:
        store: store of traces and feedback.
        seconds: time after which no further batch is begun.
        now: seconds since 1970; None for the current time.

    Returns:
        True if there is more to do.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    until = time.monotonic() + seconds
    has_more = refresh_summaries(store, seconds=seconds, now=now)
    return refresh_judged_rankings(store, seconds=until - time.monotonic(), now=now) or has_more


def read_totals(
    store: TraceStore, buckets: TimeBuckets, *, tenant: str | None = None, limit: int = 50
) -> list[ActivityTotals]:
    """Return what a window has in all, by model and tenant: all tenants together first, then by number of rankings.

    Args:
        store: store of traces.
        buckets: the window.
        tenant: tenant to read; None for all, and their sum (`*`).
        limit: rows at most.
    """
    columns = tables.activity_summary.c
    is_total = case((columns.tenant == EVERYONE, 0), else_=1)
    names = (*SUMMARY_COUNTS, *SUMMARY_TOTALS)
    sums = [func.sum(columns[name]).label(name) for name in names]
    query = select(columns.model, columns.tenant, *sums).where(_in_window(buckets))
    if tenant is not None:
        query = query.where(columns.tenant == tenant)
    query = query.group_by(columns.model, columns.tenant).order_by(
        is_total, func.sum(columns.requests).desc(), columns.model, columns.tenant
    )
    with store.connect() as connection:
        rows = connection.execute(query.limit(limit)).all()
    feedback = read_feedback_sums(store, buckets, tenant=tenant)
    return [
        ActivityTotals(
            row.model,
            row.tenant,
            {name: float(row._mapping[name]) for name in names},
            feedback.get((row.model, row.tenant)) or dict.fromkeys(FEEDBACK_SUMS, 0.0),
        )
        for row in rows
    ]


def read_feedback_sums(
    store: TraceStore, buckets: TimeBuckets, *, tenant: str | None = None
) -> dict[tuple[str, str], dict[str, float]]:
    """Return `FEEDBACK_SUMS` of a window by model and tenant, and by model and all tenants together (`*`).

    Args:
        store: store of traces.
        buckets: the window.
        tenant: tenant to read; None for all.
    """
    judged = tables.judged_ranking.c
    query = feedback_query(buckets, tenant).add_columns(judged.model, judged.tenant)
    sums: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: dict.fromkeys(FEEDBACK_SUMS, 0.0))
    with store.connect() as connection:
        for row in connection.execute(query.group_by(judged.model, judged.tenant)):
            for key in ((row.model, row.tenant), (row.model, EVERYONE)):
                for name in FEEDBACK_SUMS:
                    sums[key][name] += float(row._mapping[name] or 0)
    return dict(sums)


def read_series(store: TraceStore, buckets: TimeBuckets, model: str, tenant: str | None = None) -> ActivitySeries:
    """Return what happened in each bucket of a window.

    Args:
        store: store of traces.
        buckets: the window; its step is one of `STEPS`.
        model: name of the model.
        tenant: tenant; None for all together.
    """
    table, names = tables.activity_summary, (*SUMMARY_COUNTS, *SUMMARY_TOTALS)
    is_asked = (table.c.tenant == (EVERYONE if tenant is None else tenant)) & (table.c.model == model)
    query = select(table.c.start, table.c.version, table.c.first, table.c.data, *(table.c[name] for name in names))
    minutes = buckets.step // MINUTE
    judged = tables.judged_ranking.c
    # A constant in the text: PostgreSQL does not see that two parameters, selected and grouped by, are the same.
    position = judged.minute // literal_column(str(minutes), Integer)
    judged_query = feedback_query(buckets, tenant).add_columns(position.label("position"))
    with store.connect() as connection:
        rows = connection.execute(query.where(_in_window(buckets), is_asked).order_by(table.c.start)).all()
        feedback_rows = connection.execute(judged_query.where(judged.model == model).group_by(position)).all()
    positions = [(row.start - buckets.since) // buckets.step for row in rows]
    sums = _sums_by_bucket(positions, np.array([row[4:] for row in rows], float).reshape(-1, len(names)), buckets.count)
    unpacked = [unpack_sketches(bytes(row.data)) for row in rows]
    sketches = [
        SketchSeries.of(positions, [each[measure] for each in unpacked], buckets.count)
        for measure in range(1 + len(STAGES))
    ]
    versions: dict[str, Floats] = defaultdict(lambda: np.zeros(buckets.count))
    first_seen: dict[str, Floats] = defaultdict(lambda: np.full(buckets.count, np.nan))
    for row, bucket in zip(rows, positions, strict=True):
        versions[row.version][bucket] = row.requests
        first_seen[row.version][bucket] = row.first
    feedback = _sums_by_bucket(
        [row.position - buckets.since // buckets.step for row in feedback_rows],
        np.array([[row._mapping[name] or 0 for name in FEEDBACK_SUMS] for row in feedback_rows], float).reshape(
            -1, len(FEEDBACK_SUMS)
        ),
        buckets.count,
    )
    return ActivitySeries(
        buckets=buckets,
        sums=dict(zip(names, sums, strict=True)),
        scores=sketches[0],
        latencies=dict(zip(STAGES, sketches[1:], strict=True)),
        versions=dict(versions),
        first_seen=dict(first_seen),
        feedback=dict(zip(FEEDBACK_SUMS, feedback, strict=True)),
    )


def _in_window(buckets: TimeBuckets) -> ColumnElement[bool]:
    columns = tables.activity_summary.c
    return and_(columns.step == buckets.step, columns.start >= buckets.since, columns.start < buckets.until)


def feedback_query(buckets: TimeBuckets, tenant: str | None) -> Select[tuple[object, ...]]:
    """Return the query for `FEEDBACK_SUMS`."""
    columns = tables.judged_ranking.c
    difference = columns.reciprocal_after - columns.reciprocal_before
    sums = (
        func.count(),
        func.sum(columns.chosen),
        func.sum(case((columns.rejected > 0, 1), else_=0)),
        func.sum(columns.reciprocal_before),
        func.sum(columns.reciprocal_after),
        func.sum(difference * difference),
    )
    query = select(*(each.label(name) for each, name in zip(sums, FEEDBACK_SUMS, strict=True))).where(
        columns.minute >= buckets.since // MINUTE, columns.minute < buckets.until // MINUTE
    )
    return query if tenant is None else query.where(columns.tenant == tenant)


def _sums_by_bucket(positions: Sequence[int], values: Floats, count: int) -> Floats:
    """Return sums of rows by bucket, shape (columns, buckets)."""
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, np.asarray(positions, np.int64), values)
    return sums.T
