"""Monitoring of reranking by model and tenant: rank changes, scores, drift, latency and feedback in a recent window.

Definitions:
    top_changed: share of rankings whose first document was not first before.
    tau, rbo: Kendall's tau and rank-biased overlap of the order before with the order after.
    promotion: ranks that the returned documents rose, mean.
    psi: population stability index of the logit at rank 1 against a reference window; it measures drift.
    gain: reciprocal rank of the best chosen document, after minus before, mean over requests, with a 95 % confidence
        interval. People choose among what they are shown: this bias favours reranking, so a gain below 0 says more.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from rerankd.database import tables
from rerankd.feedback.detectors import judge_trace
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.store import read_feedback
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import Trace

EVERYONE = "*"
DECILES = 10
BATCH_SIZE = 200
MIN_SHARE = 1e-4
Z = 1.959964  # of a two-sided interval of 95 %
_MEASURES = ("top_before", "top_score", "margin", "tau", "rbo", "promotion", "truncated", "documents", "total_ms")
Values = npt.NDArray[np.float64]
Verdict = Literal["helps", "hurts", "unclear", "too few"]


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
class FeedbackRates:
    """Feedback on the rankings of a window.

    Attributes:
        requests: rankings with a chosen document.
        negative: rejected documents and rejected rankings.
        reciprocal_before: reciprocal rank of the best chosen document before reranking, mean.
        reciprocal_after: the same after reranking.
        top5_before: share of requests whose best chosen document was among the first five before reranking.
        top5_after: the same after reranking.
        gain: reciprocal_after - reciprocal_before.
        gain_low: lower end of its 95 % interval; None for fewer than two requests.
        gain_high: upper end of its 95 % interval.
        verdict: `hurts` if the whole interval is below 0, `helps` if it is above, else `unclear`; `too few` for fewer
            requests than the floor.
    """

    requests: int
    negative: int
    reciprocal_before: float | None
    reciprocal_after: float | None
    top5_before: float | None
    top5_after: float | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Activity:
    """Statistics of a model's rankings for one tenant, or for all (`*`), in a window; None if nothing was measured."""

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
    latency_p50_ms: float
    latency_p95_ms: float
    truncated: float
    feedback: FeedbackRates


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


@dataclass(slots=True)
class _Judged:
    """Ranks before and after of the best chosen document of each request, and the number of rejections."""

    ranks: list[tuple[int, int]] = field(default_factory=list)
    rejections: int = 0


def _read_rankings(store: TraceStore, where: TraceFilter, limit: int) -> dict[Key, _Rankings]:
    columns = tables.trace.c
    query = select(columns.model, columns.tenant, columns.version, *(columns[name] for name in _MEASURES))
    with store.connect() as connection:
        rows = connection.execute(where.apply(query).order_by(columns.time.desc()).limit(limit)).all()
    groups: dict[Key, list[Sequence[Any]]] = defaultdict(list)
    for row in rows:
        for tenant in (row[1], EVERYONE):
            groups[row[0], tenant].append(row)
    rankings = {}
    for key, group in groups.items():
        matrix = np.array([row[3:] for row in group], float)  # None becomes NaN: it was not measured
        values = {name: matrix[:, column] for column, name in enumerate(_MEASURES)}
        rankings[key] = _Rankings(values, versions=len({row[2] for row in group}))
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
    scores, reference_scores = values["top_score"], reference.values["top_score"] if reference else np.empty(0)
    documents = values["documents"].sum()
    low, middle, high = np.quantile(scores, (0.1, 0.5, 0.9))
    is_comparable = min(len(scores), len(reference_scores)) >= windows.floor
    return Activity(
        model=key[0],
        tenant=key[1],
        requests=len(scores),
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
        latency_p50_ms=float(np.quantile(values["total_ms"], 0.5)),
        latency_p95_ms=float(np.quantile(values["total_ms"], 0.95)),
        truncated=float(values["truncated"].sum() / documents) if documents else 0.0,
        feedback=feedback_rates(judged.ranks, judged.rejections, floor=windows.feedback_floor),
    )


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
    shares = [
        np.bincount(np.searchsorted(edges, sample, "right"), minlength=len(edges) + 1) / len(sample)
        for sample in samples
    ]
    r, c = (np.maximum(share, MIN_SHARE) for share in shares)
    return float(((c - r) * np.log(c / r)).sum())


def feedback_rates(ranks: Iterable[tuple[int, int]], negative: int = 0, floor: int = 30) -> FeedbackRates:
    """Return the rates of requests from the ranks of their best chosen document.

    Args:
        ranks: (rank before, rank after) of each request, from 1.
        negative: rejected documents and rankings.
        floor: requests that a verdict needs.

    Example:
        >>> rates = feedback_rates([(4, 1)] * 40)
        >>> rates.gain, rates.verdict
        (0.75, 'helps')
    """
    pairs = np.array(list(ranks), float).reshape(-1, 2)
    count = len(pairs)
    if not count:
        return FeedbackRates(0, negative, None, None, None, None, None, None, None, "too few")
    before, after = (1 / pairs[:, side] for side in (0, 1))
    gains = after - before
    gain = float(gains.mean())
    half_width = Z * float(gains.std(ddof=1)) / math.sqrt(count) if count > 1 else None
    low, high = (None, None) if half_width is None else (gain - half_width, gain + half_width)
    verdict: Verdict = "too few"
    if count >= floor and low is not None and high is not None:
        verdict = "helps" if low > 0 else "hurts" if high < 0 else "unclear"
    return FeedbackRates(
        requests=count,
        negative=negative,
        reciprocal_before=float(before.mean()),
        reciprocal_after=float(after.mean()),
        top5_before=float((pairs[:, 0] <= 5).mean()),
        top5_after=float((pairs[:, 1] <= 5).mean()),
        gain=gain,
        gain_low=low,
        gain_high=high,
        verdict=verdict,
    )
