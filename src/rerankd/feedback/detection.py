"""Looks for bad cases among traces and feedback: by itself every minute where traces are written, or when asked."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from rerankd.database import tables
from rerankd.feedback.cases import add_cases
from rerankd.feedback.detectors import (
    CHOSEN_LOW,
    DEMOTED,
    LOW_MARGIN,
    OUTLIER,
    TOP_REJECTED,
    Bounds,
    Detection,
    ScoreBaseline,
    disagreement,
    find,
)
from rerankd.feedback.store import Feedback, read_feedback
from rerankd.traces.replay import Score, replay
from rerankd.traces.store import FullTrace, TraceFilter, TraceStore
from rerankd.traces.trace import Trace

USUAL = 2000  # traces of a model that say how it usually scores
AT_ONCE = 100
BY_SCORE = (LOW_MARGIN, OUTLIER)
BY_FEEDBACK = (CHOSEN_LOW, TOP_REJECTED, DEMOTED)


@dataclass(frozen=True, slots=True)
class DetectionLimits:
    """How much is looked at.

    Attributes:
        each: new cases of each detector that needs no feedback, the worst first; feedback is never too much.
        traces: traces and items of feedback that are read at most.
    """

    each: int = 20
    traces: int = 5000


def detect(
    store: TraceStore, wanted: TraceFilter, bounds: Bounds | None = None, limits: DetectionLimits | None = None
) -> dict[str, int]:
    """Look for bad cases in a window.

    Args:
        store: where traces are.
        wanted: the window, for traces by their time, for feedback by its own; and whose.
        bounds: from where on something is remarkable.
        limits: how much is looked at.

    Returns:
        New cases by detector.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    bounds, limits = bounds or Bounds(), limits or DetectionLimits()
    found: dict[str, int] = defaultdict(int)
    for full, detections in (*_by_feedback(store, wanted, bounds, limits), *_by_score(store, wanted, bounds, limits)):
        for one in detections:
            found[one.detector] += add_cases(store, full, [one])
    return dict(found)


def detect_disagreement(
    store: TraceStore, wanted: TraceFilter, model: str, score: Score, bounds: Bounds | None = None, limit: int = 100
) -> dict[str, int]:
    """Rank the newest traces of a window on a second model, and keep where it sees them otherwise."""
    count = 0
    for trace in store.list_traces(wanted, limit=limit):
        for full in store.load([trace]):
            for replayed in replay([full], score):
                if (detection := disagreement(replayed, model, bounds)) is not None:
                    count += add_cases(store, full, [detection])
    return {"disagreement": count}


class CaseDetector:
    """Looks at what is new each time it is called; keeps where it was.

    Args:
        bounds: from where on something is remarkable.
        limits: how much is looked at each time.
        overlap: seconds that are looked at twice, for traces written late.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        bounds: Bounds | None = None,
        limits: DetectionLimits | None = None,
        overlap: float = 120.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bounds, self._limits, self._overlap, self._clock = bounds, limits, overlap, clock
        self._until = clock()

    def __call__(self, store: TraceStore) -> dict[str, int]:
        """Look at what came since the last call."""
        now = self._clock()
        found = detect(store, TraceFilter(since=self._until - self._overlap), self._bounds, self._limits)
        self._until = now
        return found


def _by_feedback(
    store: TraceStore, wanted: TraceFilter, bounds: Bounds, limits: DetectionLimits
) -> Iterable[tuple[FullTrace, list[Detection]]]:
    touched = {one.trace.id: one.trace for one in read_feedback(store, wanted, limit=limits.traces) if one.trace}
    for full in _full(store, list(touched.values())):
        detections = find(full, feedback_on(store, full.trace), None, bounds)
        yield full, [one for one in detections if one.detector in BY_FEEDBACK]


def feedback_on(store: TraceStore, trace: Trace) -> list[Feedback]:
    """All feedback on a trace."""
    if not trace.request_id:
        return []
    own = TraceFilter(tenant=trace.tenant, request_id=trace.request_id)
    return [one.feedback for one in read_feedback(store, own)]


def _by_score(
    store: TraceStore, wanted: TraceFilter, bounds: Bounds, limits: DetectionLimits
) -> Iterable[tuple[FullTrace, list[Detection]]]:
    suspects: dict[str, list[tuple[float, Trace]]] = {name: [] for name in BY_SCORE}
    usual: dict[tuple[str, str], ScoreBaseline | None] = {}
    for trace in store.list_traces(wanted, limit=limits.traces):
        if not trace.request_id:
            continue
        key = (trace.model, trace.version)
        if key not in usual:
            usual[key] = score_baseline(store, *key)
        own = usual[key]
        if trace.margin is not None and trace.margin < bounds.margin:
            suspects[LOW_MARGIN].append((-trace.margin, trace))
        if own is not None and (away := abs(trace.top_score - own.centre) / own.spread) > bounds.outlier:
            suspects[OUTLIER].append((away, trace))
    for name, found in suspects.items():
        worst = sorted(found, key=lambda item: -item[0])[: limits.each]
        for full in _full(store, [trace for _, trace in worst]):
            detections = find(full, (), usual[full.trace.model, full.trace.version], bounds)
            yield full, [one for one in detections if one.detector == name]


def score_baseline(store: TraceStore, model: str, version: str) -> ScoreBaseline | None:
    """How a version of a model usually scores what it puts first, by its newest traces."""
    columns = tables.trace.c
    own = select(columns.top_score).where(columns.model == model, columns.version == version)
    with store.connect() as connection:
        scores = list(connection.scalars(own.order_by(columns.time.desc()).limit(USUAL)))
    return ScoreBaseline.from_scores(scores)


def _full(store: TraceStore, traces: Sequence[Trace]) -> Iterable[FullTrace]:
    for start in range(0, len(traces), AT_ONCE):
        yield from store.load(traces[start : start + AT_ONCE])
