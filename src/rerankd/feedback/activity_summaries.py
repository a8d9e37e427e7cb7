"""Summaries of rankings by time bucket, model, version and tenant, kept up to date in the database.

Every trace is added once, to the bucket of each step in `STEPS` that it falls into; `activity_state` holds the number
of the next trace to add. Traces get their numbers in the order they are committed, so that none is missed, however late
it was written. Pages over weeks then read some hundred rows instead of all traces. Several instances may refresh at
once: the first to advance the state writes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, delete, insert, select, tuple_, update

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.database.errors import translate_errors
from rerankd.database.tables import SUMMARY_COUNTS, SUMMARY_TOTALS
from rerankd.feedback.monitoring import EVERYONE, JOB
from rerankd.feedback.sketch import Sketch, bins_of, merge, pack_sketches, unpack_sketches
from rerankd.traces.store import TraceStore

MINUTE, HOUR, DAY = 60, 3600, 86_400
STEPS = {MINUTE: 8 * HOUR, 15 * MINUTE: 2 * DAY, 3 * HOUR: 15 * DAY, 12 * HOUR: 45 * DAY}
"""Lengths of buckets in seconds, and for how many seconds buckets of a length are kept."""
STAGES = ("tokenization", "queue", "inference", "total")
SLOW_MS = 1000.0
MAX_NAME = 200  # of a key in an index of PostgreSQL, which holds 2,704 bytes
BATCH_SIZE = 5000
KEYS_PER_QUERY = 150
_MEANS = ("tau", "rbo", "promotion", "margin")
_NUMBERS = ("documents", "truncated", "cached", "top_before", "top_score", *_MEANS, *(f"{name}_ms" for name in STAGES))
_KEY = ("step", "tenant", "model", "start", "version")
SummaryKey = tuple[int, str, str, int, str]  # step, tenant, model, start, version
Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Summary:
    """Rankings of a bucket.

    Attributes:
        first: time of the first of them, seconds since 1970.
        sums: the columns `SUMMARY_COUNTS` and `SUMMARY_TOTALS`, in this order.
        sketches: of the top scores of rankings that showed a document, and of the milliseconds of each of `STAGES` of
            rankings that somebody waited for.
    """

    first: float
    sums: list[float]
    sketches: list[Sketch]

    def __add__(self, other: Summary) -> Summary:
        return Summary(
            min(self.first, other.first),
            [left + right for left, right in zip(self.sums, other.sums, strict=True)],
            [merge(pair) for pair in zip(self.sketches, other.sketches, strict=True)],
        )


def refresh_summaries(store: TraceStore, *, seconds: float = float("inf"), now: float | None = None) -> bool:
    """Add the traces that are new since the last call, by whichever instance.

    Args:
        store: store of traces.
        seconds: time after which no further batch is begun.
        now: seconds since 1970; None for the current time.

    Returns:
        True if there are more.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    until = time.monotonic() + seconds
    while True:
        count = _add_batch(store, time.time() if now is None else now)
        if count < BATCH_SIZE:
            return False
        if time.monotonic() > until:
            return True


def delete_old_summaries(store: TraceStore, *, now: float | None = None) -> None:
    """Delete the buckets that are not kept any longer.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    now = time.time() if now is None else now
    columns = tables.activity_summary.c
    with translate_errors(), store.begin() as connection:
        for step, kept in STEPS.items():
            old = delete(tables.activity_summary).where(columns.step == step, columns.start < now - kept)
            connection.execute(old)
        oldest = int(now - max(STEPS.values())) // MINUTE
        connection.execute(delete(tables.judged_ranking).where(tables.judged_ranking.c.minute < oldest))


def _add_batch(store: TraceStore, now: float) -> int:
    """Add the next traces to the summaries, and return how many there were."""
    columns, state = tables.trace.c, tables.activity_state
    query = select(columns.id, columns.time, columns.tenant, columns.model, columns.version, columns.source)
    query = query.add_columns(*(columns[name] for name in _NUMBERS)).order_by(columns.id).limit(BATCH_SIZE)
    with store.connect() as connection:
        erased = connection.scalar(select(tables.store.c.erased))
        first = connection.scalar(select(state.c.traces)) or 0
        rows = connection.execute(query.where(columns.id >= first)).all()
    if not rows:
        return 0
    summaries = summarize(rows, now)
    with translate_errors(), store.begin() as connection:
        is_unchanged = state.c.traces == first
        if not connection.execute(update(state).where(is_unchanged).values(traces=rows[-1].id + 1)).rowcount:
            return BATCH_SIZE  # another instance was faster: go on from where it is
        # An erasure waits for this transaction, or made these rows invalid.
        if connection.scalar(select(tables.store.c.erased).with_for_update(read=True)) != erased:
            connection.rollback()
            return BATCH_SIZE
        _save(connection, summaries)
    return len(rows)


def summarize(rows: Sequence[Any], now: float) -> dict[SummaryKey, Summary]:
    """Return the summaries of traces by bucket; buckets that would not be kept are left out.

    Args:
        rows: rows with the columns id, time, tenant, model, version, source and `_NUMBERS`.
        now: seconds since 1970.
    """
    times = np.array([row.time for row in rows])
    numbers = dict(zip(_NUMBERS, np.array([row[6:] for row in rows], float).T, strict=True))
    is_job = np.array([row.source == JOB for row in rows])
    sums = _sums(numbers, is_job)
    measures = [(bins_of(values), is_measured) for values, is_measured in _measures(numbers, is_job)]
    summaries: dict[SummaryKey, Summary] = {}
    for is_total in (False, True):
        names = [
            (EVERYONE if is_total else row.tenant[:MAX_NAME], row.model[:MAX_NAME], row.version[:MAX_NAME])
            for row in rows
        ]
        distinct = {name: code for code, name in enumerate(dict.fromkeys(names))}
        codes, labels = np.array([distinct[name] for name in names]), list(distinct)
        for step, kept in STEPS.items():
            starts = np.asarray(times // step, np.int64) * step
            chosen = np.flatnonzero(starts >= now - kept)
            for group in _groups(codes[chosen], starts[chosen]):
                members = chosen[group]
                tenant, model, version = labels[codes[members[0]]]
                key = (step, tenant, model, int(starts[members[0]]), version)
                sketches = [
                    Sketch(*np.unique(bins[members][is_measured[members]], return_counts=True))
                    for bins, is_measured in measures
                ]
                summaries[key] = Summary(float(times[members].min()), sums[:, members].sum(axis=1).tolist(), sketches)
    return summaries


def _groups(codes: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the positions of the rows that share both values."""
    order = np.lexsort((starts, codes))
    changes = np.flatnonzero((np.diff(codes[order]) != 0) | (np.diff(starts[order]) != 0)) + 1
    for begin, end in pairwise([0, *changes.tolist(), len(order)]):
        if end > begin:
            yield order[begin:end]


def _sums(numbers: dict[str, Floats], is_job: npt.NDArray[np.bool_]) -> Floats:
    """Return what each ranking adds to each column, shape (columns, rankings)."""
    parts = {
        "requests": np.ones(len(is_job)),
        "jobs": is_job,
        "slow": (numbers["total_ms"] > SLOW_MS) & ~is_job,
        "top_changed": numbers["top_before"] > 1,
        **{name: numbers[name] for name in ("documents", "truncated", "cached")},
        **{f"{name}_count": ~np.isnan(numbers[name]) for name in _MEANS},
        **{f"{name}_total": np.nan_to_num(numbers[name]) for name in _MEANS},
    }
    return np.array([parts[name] for name in (*SUMMARY_COUNTS, *SUMMARY_TOTALS)], float)


def _measures(numbers: dict[str, Floats], is_job: npt.NDArray[np.bool_]) -> list[tuple[Floats, npt.NDArray[np.bool_]]]:
    """Return the values that sketches are made of, and which rankings have them."""
    return [
        (numbers["top_score"], numbers["top_before"] > 0),
        *((numbers[f"{stage}_ms"], ~is_job) for stage in STAGES),
    ]


def _save(connection: Connection, summaries: dict[SummaryKey, Summary]) -> None:
    """Add summaries to those in the database."""
    table = tables.activity_summary
    key = tuple_(*(table.c[name] for name in _KEY))
    for keys in batched(sorted(summaries), KEYS_PER_QUERY):
        stored = connection.execute(select(table).where(key.in_(keys))).all()
        for row in stored:
            summaries[row.step, row.tenant, row.model, row.start, row.version] += summary_of(row)
        if stored:
            connection.execute(delete(table).where(key.in_(keys)))
        connection.execute(insert(table), [_row(each, summaries[each]) for each in keys])


def _row(key: SummaryKey, summary: Summary) -> dict[str, object]:
    row: dict[str, object] = dict(zip(_KEY, key, strict=True))
    sums = zip((*SUMMARY_COUNTS, *SUMMARY_TOTALS), summary.sums, strict=True)
    row |= {name: value if name in SUMMARY_TOTALS else int(value) for name, value in sums}
    return row | {"first": summary.first, "data": pack_sketches(summary.sketches)}


def summary_of(row: Any) -> Summary:
    """Return the summary of a row of `activity_summary`."""
    sums = [float(row._mapping[name]) for name in (*SUMMARY_COUNTS, *SUMMARY_TOTALS)]
    return Summary(row.first, sums, unpack_sketches(bytes(row.data)))
