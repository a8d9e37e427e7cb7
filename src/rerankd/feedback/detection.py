"""Detection of bad cases in the store: continuously where traces are written, or over a window on request."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from rerankd.database import tables
from rerankd.feedback.case_store import add_cases
from rerankd.feedback.detectors import (
    CHOSEN_LOW,
    DEMOTED,
    LOW_MARGIN,
    OUTLIER,
    TOP_REJECTED,
    Detection,
    DetectorThresholds,
    ScoreBaseline,
    disagreement,
    is_low,
    run_detectors,
)
from rerankd.feedback.store import feedback_on, read_feedback
from rerankd.traces.replay import Score, replay_traces
from rerankd.traces.store import FullTrace, TraceFilter, TraceStore
from rerankd.traces.trace import Trace

BASELINE_TRACES = 2000
BATCH_SIZE = 100
BY_SCORE = (LOW_MARGIN, OUTLIER)
BY_FEEDBACK = (CHOSEN_LOW, TOP_REJECTED, DEMOTED)


@dataclass(frozen=True, slots=True)
class DetectionLimits:
    """Limits of one detection run.

    Attributes:
        each: new cases of each detector that needs no feedback, the worst first; those by feedback are not limited.
        traces: traces, and feedback events, that are read at most.
    """

    each: int = 20
    traces: int = 5000


def detect(
    store: TraceStore,
    where: TraceFilter,
    thresholds: DetectorThresholds | None = None,
    limits: DetectionLimits | None = None,
) -> dict[str, int]:
    """Run the detectors over a window and add what they find to the queue of cases.

    Args:
        store: store of traces, feedback and cases.
        where: conditions; the window applies to the time of traces, and of feedback events.
        thresholds: thresholds of the detectors; None for the defaults.
        limits: limits of the run; None for the defaults.

    Returns:
        Number of new findings by detector; all those of one ranking are one case.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    thresholds, limits = thresholds or DetectorThresholds(), limits or DetectionLimits()
    counts: dict[str, int] = defaultdict(int)
    for search in (_by_feedback, _by_score):
        for full, detections in search(store, where, thresholds, limits):
            for detection in detections:
                counts[detection.detector] += add_cases(store, full, [detection])
    return dict(counts)


def detect_disagreement(
    store: TraceStore,
    where: TraceFilter,
    model: str,
    score: Score,
    thresholds: DetectorThresholds | None = None,
    limit: int = 100,
) -> dict[str, int]:
    """Rank the newest traces of a window with a second model and add those that it ranks differently.

    Args:
        store: store of traces and cases.
        where: conditions on the traces.
        model: name of the second model.
        score: function that returns its logits.
        thresholds: thresholds of the detector; None for the defaults.
        limit: traces at most.

    Returns:
        Number of new cases, under `disagreement`.
    """
    count = 0
    for trace in store.list_traces(where, limit=limit):
        for full in store.load([trace]):
            for replayed in replay_traces([full], score):
                if (detection := disagreement(replayed, model, thresholds)) is not None:
                    count += add_cases(store, full, [detection])
    return {"disagreement": count}


class CaseDetector:
    """Runs the detectors on what is new at each call; it keeps the time of the last run.

    Args:
        thresholds: thresholds of the detectors; None for the defaults.
        limits: limits of one call; None for the defaults.
        overlap: seconds before the last call that are searched again, for traces that were written late.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        thresholds: DetectorThresholds | None = None,
        limits: DetectionLimits | None = None,
        overlap: float = 120.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._thresholds, self._limits, self._overlap, self._clock = thresholds, limits, overlap, clock
        self._until = clock()

    def __call__(self, store: TraceStore) -> dict[str, int]:
        """Add the cases since the last call; returns the number of new cases by detector."""
        now = self._clock()
        counts = detect(store, TraceFilter(since=self._until - self._overlap), self._thresholds, self._limits)
        self._until = now
        return counts


def score_baseline(store: TraceStore, model: str, version: str) -> ScoreBaseline | None:
    """Return the baseline of a model version's top scores, from its newest traces; None for too few."""
    columns = tables.trace.c
    query = select(columns.top_score).where(columns.model == model, columns.version == version)
    query = query.where(columns.top_before > 0)
    with store.connect() as connection:
        scores = list(connection.scalars(query.order_by(columns.time.desc()).limit(BASELINE_TRACES)))
    return ScoreBaseline.from_scores(scores)


def _by_feedback(
    store: TraceStore, where: TraceFilter, thresholds: DetectorThresholds, limits: DetectionLimits
) -> Iterator[tuple[FullTrace, list[Detection]]]:
    feedback = read_feedback(store, where, limit=limits.traces)
    traces = {traced.trace.id: traced.trace for traced in feedback if traced.trace}
    for full in _load(store, list(traces.values())):
        detections = run_detectors(full, feedback_on(store, full.trace), None, thresholds)
        yield full, [detection for detection in detections if detection.detector in BY_FEEDBACK]


def _by_score(
    store: TraceStore, where: TraceFilter, thresholds: DetectorThresholds, limits: DetectionLimits
) -> Iterator[tuple[FullTrace, list[Detection]]]:
    suspects: dict[str, list[tuple[float, Trace]]] = {name: [] for name in BY_SCORE}
    baselines: dict[tuple[str, str], ScoreBaseline | None] = {}
    for trace in store.list_traces(where, limit=limits.traces):
        if not trace.request_id:
            continue
        version = (trace.model, trace.version)
        if version not in baselines:
            baselines[version] = score_baseline(store, *version)
        baseline = baselines[version]
        if trace.margin is not None and is_low(trace.margin, thresholds):
            suspects[LOW_MARGIN].append((-trace.margin, trace))
        if baseline is not None and (distance := baseline.distance(trace.top_score)) > thresholds.outlier:
            suspects[OUTLIER].append((distance, trace))
    for name, severities in suspects.items():
        worst = sorted(severities, key=lambda suspect: -suspect[0])[: limits.each]
        for full in _load(store, [trace for _, trace in worst]):
            baseline = baselines[full.trace.model, full.trace.version]
            detections = run_detectors(full, (), baseline, thresholds)
            yield full, [detection for detection in detections if detection.detector == name]


def _load(store: TraceStore, traces: Sequence[Trace]) -> Iterator[FullTrace]:
    for start in range(0, len(traces), BATCH_SIZE):
        yield from store.load(traces[start : start + BATCH_SIZE])
