"""Monitoring of reranking by model and tenant: rank changes, scores, drift, latency and feedback in a recent window.

Definitions:
    top_changed: share of rankings whose first document was not first before.
    tau, rbo: Kendall's tau and rank-biased overlap of the order before with the order after.
    promotion: ranks that the returned documents rose, mean.
    psi: population stability index of the top scores against a reference window; it measures drift.
    latency: milliseconds of the requests that somebody waited for. Jobs run when there is time, so the latency of their
        rankings is a measure of its own.
    gain: reciprocal rank of the best chosen document, after minus before, mean over requests, with a 95 % confidence
        interval. People choose among what they are shown: this bias favours reranking, so a gain below 0 says more.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from rerankd.database import tables
from rerankd.feedback.detectors import judge_trace
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.rates import FeedbackRates, feedback_rates
from rerankd.feedback.store import read_feedback
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import Trace

EVERYONE = "*"
JOB = "job"
DECILES = 10
BATCH_SIZE = 200
MIN_SHARE = 1e-4
_MEASURES = ("top_before", "top_score", "margin", "tau", "rbo", "promotion", "truncated", "documents", "total_ms")
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MonitorWindows:
    """Windows and minimum counts of monitoring.

    Attributes:
        seconds: length of the current window, up to now.
        reference_seconds: length of the reference window, which ends where the current one begins.
        floor: rankings that both windows need before `psi` compares them.
        feedback_floor: requests with feedback that a verdict needs.
        rows: rankings, and feedback events, that are read of each window at most, the newest.
    """

    seconds: float = 3600.0
    reference_seconds: float = 7 * 86_400.0
    floor: int = 200
    feedback_floor: int = 30
    rows: int = 20_000


@dataclass(frozen=True, slots=True)
class Activity:
    """Statistics of a model's rankings for one tenant, or for all (`*`), in a window; None if nothing was measured.

    `requests` counts all rankings, `job_rankings` those of jobs among them, which the latency of requests leaves out.
    """

    model: str
    tenant: str
    requests: int
    versions: int
    top_changed: float
    tau: float | None
    rbo: float | None
    promotion: float | None
    top_score: float
    top_score_p10: float
    top_score_p90: float
    margin: float | None
    psi: float | None
    reference_requests: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    truncated: float
    feedback: FeedbackRates
    job_rankings: int = 0
    job_latency_p95_ms: float | None = None


def monitor(
    store: TraceStore,
    windows: MonitorWindows | None = None,
    where: TraceFilter | None = None,
    *,
    now: float | None = None,
) -> list[Activity]:
    """Return statistics of the current window by model and tenant, all tenants first, then by number of rankings.

    Args:
        store: store of traces and feedback.
        windows: windows and minimum counts; None for the defaults.
        where: conditions on tenant and model; its times are ignored.
        now: end of the current window, seconds since 1970; None for the current time.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    windows, where = windows or MonitorWindows(), where or TraceFilter()
    now = time.time() if now is None else now
    start = now - windows.seconds
    current = TraceFilter(where.tenant, start, now, where.model)
    reference = TraceFilter(where.tenant, start - windows.reference_seconds, start, where.model)
    current_rankings = _read_rankings(store, current, windows.rows)
    reference_rankings = _read_rankings(store, reference, windows.rows)
    judgements = _read_judgements(store, current, windows.rows)
    rows = [
        _activity(key, rankings, reference_rankings.get(key), judgements.get(key, _Judged()), windows)
        for key, rankings in current_rankings.items()
    ]
    return sorted(rows, key=lambda row: (row.tenant != EVERYONE, -row.requests, row.model, row.tenant))


Key = tuple[str, str]  # model, tenant


@dataclass(frozen=True, slots=True)
class _Rankings:
    values: dict[str, Values]
    versions: int
    is_job: npt.NDArray[np.bool_]

    @property
    def top_scores(self) -> Values:
        """Top scores of the rankings that showed a document."""
        return self.values["top_score"][self.values["top_before"] > 0]


@dataclass(slots=True)
class _Judged:
    """Ranks before and after of the best chosen document of each request, and the number of rejections."""

    ranks: list[tuple[int, int]] = field(default_factory=list)
    rejections: int = 0


def _read_rankings(store: TraceStore, where: TraceFilter, limit: int) -> dict[Key, _Rankings]:
    columns = tables.trace.c
    names = ("model", "tenant", "version", "source", *_MEASURES)
    query = select(*(columns[name] for name in names))
    with store.connect() as connection:
        rows = connection.execute(where.apply(query).order_by(columns.time.desc()).limit(limit)).all()
    groups: dict[Key, list[Sequence[Any]]] = defaultdict(list)
    for row in rows:
        for tenant in (row[1], EVERYONE):
            groups[row[0], tenant].append(row)
    rankings = {}
    for key, group in groups.items():
        matrix = np.array([row[4:] for row in group], float)  # None becomes NaN: it was not measured
        values = {name: matrix[:, column] for column, name in enumerate(_MEASURES)}
        is_job = np.array([row[3] == JOB for row in group])
        rankings[key] = _Rankings(values, versions=len({row[2] for row in group}), is_job=is_job)
    return rankings


def _read_judgements(store: TraceStore, where: TraceFilter, limit: int) -> dict[Key, _Judged]:
    traces: dict[int, Trace] = {}
    events: dict[int, list[FeedbackEvent]] = defaultdict(list)
    for traced in reversed(read_feedback(store, where, limit=limit)):  # the oldest first, as judgements need it
        if traced.trace is not None:
            traces[traced.trace.id] = traced.trace
            events[traced.trace.id].append(traced.feedback)
    judged: dict[Key, _Judged] = defaultdict(_Judged)
    unread = list(traces.values())
    for start in range(0, len(unread), BATCH_SIZE):
        for full in store.load(unread[start : start + BATCH_SIZE]):
            judgements = judge_trace(full, events[full.trace.id])
            for tenant in (full.trace.tenant, EVERYONE):
                group = judged[full.trace.model, tenant]
                group.rejections += judgements.rejections
                if chosen := judgements.chosen:
                    rank_after = min(int(full.candidates.ranks[position]) for position in chosen)
                    group.ranks.append((chosen[0] + 1, rank_after))
    return dict(judged)


def _activity(
    key: Key, rankings: _Rankings, reference: _Rankings | None, judged: _Judged, windows: MonitorWindows
) -> Activity:
    values = rankings.values
    scores, reference_scores = rankings.top_scores, reference.top_scores if reference else np.empty(0)
    documents = values["documents"].sum()
    waited, jobs = values["total_ms"][~rankings.is_job], values["total_ms"][rankings.is_job]
    low, middle, high = np.quantile(scores, (0.1, 0.5, 0.9)) if len(scores) else (0.0, 0.0, 0.0)
    is_comparable = min(len(scores), len(reference_scores)) >= windows.floor
    return Activity(
        model=key[0],
        tenant=key[1],
        requests=len(rankings.is_job),
        versions=rankings.versions,
        top_changed=float((values["top_before"] > 1).mean()),
        tau=_mean(values["tau"]),
        rbo=_mean(values["rbo"]),
        promotion=_mean(values["promotion"]),
        top_score=float(middle),
        top_score_p10=float(low),
        top_score_p90=float(high),
        margin=_mean(values["margin"]),
        psi=psi(reference_scores, scores) if is_comparable else None,
        reference_requests=len(reference_scores),
        latency_p50_ms=_quantile(waited, 0.5),
        latency_p95_ms=_quantile(waited, 0.95),
        truncated=float(values["truncated"].sum() / documents) if documents else 0.0,
        feedback=feedback_rates(judged.ranks, judged.rejections, floor=windows.feedback_floor),
        job_rankings=len(jobs),
        job_latency_p95_ms=_quantile(jobs, 0.95),
    )


def _quantile(values: Values, share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None


def _mean(values: Values) -> float | None:
    measured = values[~np.isnan(values)]
    return float(measured.mean()) if len(measured) else None


def psi(reference: Sequence[float] | Values, current: Sequence[float] | Values) -> float:
    """Return the population stability index of `current` against `reference`, in bins by the reference's deciles.

    Below 0.1 there is no drift, above 0.25 a strong one. Source: Siddiqi 2006; the sum of (c - r) * ln(c / r) over
    bins.

    Args:
        reference: values of the reference window, shape (n,).
        current: values of the current window, shape (m,).

    Example:
        >>> psi(list(range(100)), list(range(100)))
        0.0
        >>> psi(list(range(100)), list(range(50, 150))) > 0.25
        True
    """
    samples = (np.asarray(reference, float), np.asarray(current, float))
    edges = np.unique(np.quantile(samples[0], np.linspace(0, 1, DECILES + 1)[1:-1]))
    counts = [np.bincount(np.searchsorted(edges, sample, "right"), minlength=len(edges) + 1) for sample in samples]
    return psi_of_counts(*counts)


def psi_of_counts(reference: npt.NDArray[Any], current: npt.NDArray[Any]) -> float:
    """Return the population stability index from the counts in each bin, shape (bins,); neither may be empty.

    Example:
        >>> psi_of_counts(np.array([10, 10]), np.array([30, 30]))
        0.0
    """
    r, c = (np.maximum(counts / counts.sum(), MIN_SHARE) for counts in (reference, current))
    return float(((c - r) * np.log(c / r)).sum())
