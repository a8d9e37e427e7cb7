"""What reranking did lately, by model and tenant: how much it moved, how it scored, how people took it, and whether
that is still as it was.

Definitions: `top_changed` share of rankings whose first document was not first before; `tau` and `rbo` agreement of the
order before and after; `promotion` places that what is shown rose; `psi` population stability index of the first
document's logit against a reference window, by the reference's deciles; `gain` mean difference of the reciprocal place
of the best chosen document, after minus before, with a confidence interval. People choose among what they are shown,
in the order after: that flatters reranking, so a gain below 0 is worth more than one above.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from rerankd.database import tables
from rerankd.feedback.detectors import chosen
from rerankd.feedback.store import Feedback, read_feedback
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import Trace

EVERYONE = "*"
DECILES = 10
SMALLEST_SHARE = 1e-4
Z = 1.959964  # of a two-sided interval of 95 %
_MEASURED = ("top_before", "top_score", "margin", "tau", "rbo", "promotion", "truncated", "documents", "total_ms")
Values = npt.NDArray[np.float64]
Verdict = Literal["helps", "hurts", "unclear", "too few"]


@dataclass(frozen=True, slots=True)
class Windows:
    """What is looked at.

    Attributes:
        seconds: length of the window, up to now.
        reference_seconds: length of the reference window, up to the window's begin.
        floor: rankings that both windows need before scores are compared.
        feedback_floor: requests with feedback that a verdict needs.
        rows: rankings and items of feedback that are read of each window at most, the newest.
    """

    seconds: float = 3600.0
    reference_seconds: float = 7 * 86_400.0
    floor: int = 200
    feedback_floor: int = 30
    rows: int = 20_000


@dataclass(frozen=True, slots=True)
class FeedbackRates:
    """How people took rankings.

    Attributes:
        requests: with at least one chosen document.
        negative: items that reject: thumbs down and grades of 0.
        reciprocal_before: mean of 1 / place of the best chosen document, as the first stage had it.
        reciprocal_after: the same, as reranked.
        top5_before: share of requests whose best chosen document was among the first five.
        top5_after: the same, as reranked.
        gain: reciprocal_after - reciprocal_before.
        gain_low: lower end of its 95 % interval; None for fewer than two requests.
        gain_high: upper end.
        verdict: `hurts` where the whole interval is below 0, `helps` where it is above, else `unclear`, or `too few`.
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
    """A model's rankings for a tenant in a window; `*` for all tenants together. None where there is nothing to say."""

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
    store: TraceStore, windows: Windows | None = None, wanted: TraceFilter | None = None, *, now: float | None = None
) -> list[Activity]:
    """What reranking did in a window, by model and tenant, those with the most rankings first.

    Args:
        store: where traces are.
        windows: what is looked at.
        wanted: tenant and model; its times are not looked at.
        now: end of the window, seconds since 1970.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    windows, wanted = windows or Windows(), wanted or TraceFilter()
    now = time.time() if now is None else now
    begin = now - windows.seconds
    current = _read(store, wanted, begin, now, windows.rows)
    before = _read(store, wanted, begin - windows.reference_seconds, begin, windows.rows)
    said = _said(store, wanted, begin, now, windows.rows)
    rows = [_activity(key, values, before.get(key), said.get(key, ([], 0)), windows) for key, values in current.items()]
    return sorted(rows, key=lambda row: (row.tenant != EVERYONE, -row.requests, row.model, row.tenant))


Key = tuple[str, str]  # model, tenant


@dataclass(frozen=True, slots=True)
class _Rankings:
    values: dict[str, Values]
    versions: int


def _read(store: TraceStore, wanted: TraceFilter, since: float, until: float, limit: int) -> dict[Key, _Rankings]:
    columns = tables.trace.c
    asked = select(columns.model, columns.tenant, columns.version, *(columns[name] for name in _MEASURED))
    window = TraceFilter(wanted.tenant, since, until, wanted.model)
    with store.connect() as connection:
        rows = connection.execute(window.apply(asked).order_by(columns.time.desc()).limit(limit)).all()
    grouped: dict[Key, list[Sequence[Any]]] = defaultdict(list)
    for row in rows:
        for tenant in (row[1], EVERYONE):
            grouped[row[0], tenant].append(row)
    found = {}
    for key, own in grouped.items():
        # None is NaN: what was not measured does not count.
        table = np.array([row[3:] for row in own], float)
        values = {name: table[:, place] for place, name in enumerate(_MEASURED)}
        found[key] = _Rankings(values, len({row[2] for row in own}))
    return found


def _said(
    store: TraceStore, wanted: TraceFilter, since: float, until: float, limit: int
) -> dict[Key, tuple[list[tuple[int, int]], int]]:
    """By model and tenant: places before and after of the best chosen document of each request, and rejections."""
    window = TraceFilter(wanted.tenant, since, until, wanted.model)
    traces: dict[int, Trace] = {}
    items: dict[int, list[Feedback]] = defaultdict(list)
    rejected: dict[Key, int] = defaultdict(int)
    for one in read_feedback(store, window, limit=limit):
        if one.trace is None:
            continue
        traces[one.trace.id] = one.trace
        items[one.trace.id].append(one.feedback)
        kind, value = one.feedback.kind, one.feedback.value
        if (kind == "thumb" and value < 0) or (kind == "grade" and value == 0):
            for tenant in (one.trace.tenant, EVERYONE):
                rejected[one.trace.model, tenant] += 1
    places: dict[Key, list[tuple[int, int]]] = defaultdict(list)
    listed = list(traces.values())
    for start in range(0, len(listed), 200):
        for full in store.load(listed[start : start + 200]):
            best = chosen(full, items[full.trace.id])
            if not best:
                continue
            after = min(int(full.candidates.ranks[place]) for place in best)
            for tenant in (full.trace.tenant, EVERYONE):
                places[full.trace.model, tenant].append((min(best) + 1, after))
    return {key: (places[key], rejected[key]) for key in places.keys() | rejected.keys()}


def _activity(
    key: Key,
    found: _Rankings,
    before: _Rankings | None,
    said: tuple[list[tuple[int, int]], int],
    windows: Windows,
) -> Activity:
    values = found.values
    scores, reference = values["top_score"], before.values["top_score"] if before else np.empty(0)
    documents = values["documents"].sum()
    low, middle, high = np.quantile(scores, (0.1, 0.5, 0.9))
    return Activity(
        model=key[0],
        tenant=key[1],
        requests=len(scores),
        versions=found.versions,
        top_changed=float((values["top_before"] > 1).mean()),
        tau=_mean(values["tau"]),
        rbo=_mean(values["rbo"]),
        promotion=_mean(values["promotion"]),
        top_score=float(middle),
        top_score_p10=float(low),
        top_score_p90=float(high),
        margin=_mean(values["margin"]),
        psi=psi(reference, scores) if min(len(scores), len(reference)) >= windows.floor else None,
        reference_requests=len(reference),
        latency_p50_ms=float(np.quantile(values["total_ms"], 0.5)),
        latency_p95_ms=float(np.quantile(values["total_ms"], 0.95)),
        truncated=float(values["truncated"].sum() / documents) if documents else 0.0,
        feedback=feedback_rates(*said, floor=windows.feedback_floor),
    )


def _mean(values: Values) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def psi(reference: Sequence[float] | Values, current: Sequence[float] | Values) -> float:
    """Population stability index of `current` against `reference`, in bins by the reference's deciles.

    Below 0.1 nothing has changed, above 0.25 much. Source: Siddiqi 2006; the sum of (c - r) * ln(c / r) over bins.

    Example:
        >>> psi(list(range(100)), list(range(100)))
        0.0
        >>> psi(list(range(100)), list(range(50, 150))) > 0.25
        True
    """
    known, new = np.asarray(reference, float), np.asarray(current, float)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, DECILES + 1)[1:-1]))
    shares = [
        np.bincount(np.searchsorted(edges, one, "right"), minlength=len(edges) + 1) / len(one) for one in (known, new)
    ]
    r, c = (np.maximum(share, SMALLEST_SHARE) for share in shares)
    return float(((c - r) * np.log(c / r)).sum())


def feedback_rates(places: Iterable[tuple[int, int]], negative: int = 0, floor: int = 30) -> FeedbackRates:
    """Rates of requests whose best chosen document stood at (place before, place after).

    Example:
        >>> rates = feedback_rates([(4, 1)] * 40)
        >>> rates.gain, rates.verdict
        (0.75, 'helps')
    """
    pairs = np.array(list(places), float).reshape(-1, 2)
    count = len(pairs)
    if not count:
        return FeedbackRates(0, negative, None, None, None, None, None, None, None, "too few")
    before, after = (1 / pairs[:, side] for side in (0, 1))
    gains = after - before
    gain = float(gains.mean())
    half = Z * float(gains.std(ddof=1)) / math.sqrt(count) if count > 1 else None
    low, high = (None, None) if half is None else (gain - half, gain + half)
    verdict: Verdict = "too few"
    if count >= floor and low is not None and high is not None:
        verdict = "helps" if low > 0 else "hurts" if high < 0 else "unclear"
    top5 = [float((pairs[:, side] <= 5).mean()) for side in (0, 1)]
    return FeedbackRates(
        count, negative, float(before.mean()), float(after.mean()), top5[0], top5[1], gain, low, high, verdict
    )
