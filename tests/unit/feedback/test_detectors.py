from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rerankd.feedback.detectors import (
    WHOLE,
    DetectorThresholds,
    ScoreBaseline,
    disagreement,
    judge_trace,
    run_detectors,
)
from rerankd.feedback.events import FeedbackEvent
from rerankd.traces.replay import MovedDocument, Replay
from rerankd.traces.store import FullTrace, TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Document
from tests.unit.traces.rankings import ranking


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    made = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    yield made
    made.close()


def traced(store: TraceStore, *scores: float) -> FullTrace:
    documents = [Document(f"text {position}", f"d{position}") for position in range(len(scores))]
    store.write([build_trace(ranking("q", documents, scores))])
    return store.load(store.list_traces(limit=1))[0]


def names(trace: FullTrace, *events: FeedbackEvent, **bounds: float) -> list[tuple[str, int]]:
    thresholds = DetectorThresholds(**({"margin": 0.0} | bounds))  # type: ignore[arg-type]
    return [(one.detector, one.position) for one in run_detectors(trace, events, None, thresholds)]


def test_a_chosen_document_that_stands_low(store: TraceStore) -> None:
    trace = traced(store, 9, 8, 7, 6, 5)
    assert names(trace, FeedbackEvent("r1", "click", 4)) == [("chosen_low", 4)]
    assert names(trace, FeedbackEvent("r1", "citation", document_id="d3")) == [("chosen_low", 3)]
    assert names(trace, FeedbackEvent("r1", "click", 2)) == []
    assert names(trace, FeedbackEvent("r1", "click", 2), low=2) == [("chosen_low", 2)]
    assert names(trace, FeedbackEvent("r1", "click", 99), FeedbackEvent("r1", "click", document_id="no")) == []
    (low,) = run_detectors(trace, [FeedbackEvent("r1", "click", 4)], None, DetectorThresholds(margin=0))
    assert (
        low.severity
        > run_detectors(trace, [FeedbackEvent("r1", "click", 3)], None, DetectorThresholds(margin=0))[0].severity
    )


def test_a_judgement_outweighs_a_click(store: TraceStore) -> None:
    trace = traced(store, 9, 8, 7, 6, 5)
    events = [FeedbackEvent("r1", "click", 4), FeedbackEvent("r1", "grade", 4, value=0)]
    assert judge_trace(trace, events).chosen == []
    events += [FeedbackEvent("r1", "thumb", 3), FeedbackEvent("r1", "grade", 1, value=2)]
    assert judge_trace(trace, events).chosen == [1, 3]


def test_the_first_stage_was_right(store: TraceStore) -> None:
    trace = traced(store, 1, 2, 3)
    assert names(trace, FeedbackEvent("r1", "click", 0)) == [("demoted", 0)]
    assert names(trace, FeedbackEvent("r1", "click", 0), low=2) == [("chosen_low", 0), ("demoted", 0)]
    assert names(trace, FeedbackEvent("r1", "click", 2)) == []


def test_the_top_was_rejected(store: TraceStore) -> None:
    trace = traced(store, 1, 3, 2)
    assert names(trace, FeedbackEvent("r1", "thumb", 1, value=-1)) == [("top_rejected", 1)]
    assert names(trace, FeedbackEvent("r1", "grade", document_id="d1", value=0)) == [("top_rejected", 1)]
    assert names(trace, FeedbackEvent("r1", "thumb", value=-1)) == [("top_rejected", 1)]
    assert names(trace, FeedbackEvent("r1", "thumb", value=-1), FeedbackEvent("r1", "thumb")) == []
    assert names(trace, FeedbackEvent("r1", "thumb", 0, value=-1)) == []


def test_margins_and_outliers(store: TraceStore) -> None:
    trace = traced(store, 1.0, 3.0, 2.995)
    assert [(one.detector, one.position) for one in run_detectors(trace)] == [("low_margin", WHOLE)]
    baseline = ScoreBaseline(0.0, 0.5)
    assert [one.detector for one in run_detectors(trace, baseline=baseline)] == ["low_margin", "outlier"]
    assert [one.detector for one in run_detectors(trace, baseline=ScoreBaseline(2.0, 0.5))] == ["low_margin"]
    assert names(traced(store, 5.0)) == []
    assert ScoreBaseline.from_scores([1.0] * 500) is None
    assert ScoreBaseline.from_scores([1.0, 2.0]) is None


def test_models_disagree(store: TraceStore) -> None:
    trace = traced(store, 3, 2, 1).trace
    moves = (MovedDocument(2, "d2", 3, 3, 1), MovedDocument(0, "d0", 1, 1, 3))
    detection = disagreement(Replay(trace, True, -1.0, 1, moves), "other")
    assert detection is not None
    assert (detection.detector, detection.position) == ("disagreement", 2)
    assert disagreement(Replay(trace, False, -1.0), "other") is None
    assert disagreement(Replay(trace, True, 0.9), "other") is None
    assert disagreement(Replay(trace, True, -1.0, skipped="erased"), "other") is None
