"""Meaning of feedback: every combination of one explicit and one implicit event, and the users of the result."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rerankd.experiments.experiment import Experiment
from rerankd.experiments.feedback_metrics import FeedbackAggregator
from rerankd.feedback.detectors import judge_trace, run_detectors
from rerankd.feedback.events import FeedbackEvent, Kind
from rerankd.feedback.judgements import Judgements, is_positive, judge
from rerankd.feedback.monitoring import monitor
from rerankd.feedback.store import add_feedback, feedback_on
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Document
from tests.unit.traces.rankings import ranking

IMPLICIT: list[tuple[Kind, float]] = [("click", 1), ("citation", 1)]
PRAISE: list[tuple[Kind, float]] = [("thumb", 1), ("grade", 1), ("grade", 100)]
BLAME: list[tuple[Kind, float]] = [("thumb", -1), ("grade", 0)]


def outcome(judgements: Judgements) -> str:
    return "chosen" if judgements.chosen else "rejected" if judgements.rejected else "none"


@pytest.mark.parametrize(("kind", "value"), [*IMPLICIT, *PRAISE, *BLAME])
def test_a_single_event(kind: Kind, value: float) -> None:
    expected = "rejected" if (kind, value) in BLAME else "chosen"
    assert outcome(judge([FeedbackEvent("r1", kind, 0, value=value)], 1)) == expected
    assert is_positive(kind, value) == (expected == "chosen")


@pytest.mark.parametrize("implicit", IMPLICIT)
@pytest.mark.parametrize("explicit", [*PRAISE, *BLAME])
def test_explicit_outweighs_implicit(implicit: tuple[Kind, float], explicit: tuple[Kind, float]) -> None:
    expected = "rejected" if explicit in BLAME else "chosen"
    for implicit_time, explicit_time in ((1.0, 2.0), (2.0, 1.0), (1.0, 1.0)):
        events = [
            *(FeedbackEvent("r1", implicit[0], 0, value=implicit[1], time=implicit_time) for _ in range(3)),
            FeedbackEvent("r1", explicit[0], 0, value=explicit[1], time=explicit_time),
        ]
        for order in itertools.permutations(events):
            assert outcome(judge(order, 1)) == expected


@pytest.mark.parametrize("first", [*PRAISE, *BLAME])
@pytest.mark.parametrize("second", [*PRAISE, *BLAME])
def test_the_latest_explicit_event_counts(first: tuple[Kind, float], second: tuple[Kind, float]) -> None:
    expected = "rejected" if second in BLAME else "chosen"
    events = [
        FeedbackEvent("r1", first[0], 0, value=first[1], time=1.0),
        FeedbackEvent("r1", second[0], 0, value=second[1], time=2.0),
    ]
    assert outcome(judge(events, 1)) == outcome(judge(reversed(events), 1)) == expected
    same_time = [replace(one, time=1.0) for one in events]
    assert outcome(judge(same_time, 1)) == expected  # of one batch the last is the latest


def test_documents_are_judged_apart_by_index_or_id() -> None:
    events = [
        FeedbackEvent("r1", "click", 0),
        FeedbackEvent("r1", "thumb", document_id="b", value=-1),
        FeedbackEvent("r1", "grade", 2, "a", value=3),  # the index decides
        FeedbackEvent("r1", "click", 9),
        FeedbackEvent("r1", "thumb", document_id="z", value=-1),
    ]
    judgements = judge(events, 3, ("a", "b", "c"))
    assert (judgements.chosen, judgements.rejected, judgements.rejections) == ([0, 2], [1], 1)
    assert not judgements.is_ranking_rejected
    assert judge(events[3:], 3, ("a", "b", "c")).is_empty


def test_the_ranking_is_judged_apart_from_its_documents() -> None:
    down = FeedbackEvent("r1", "thumb", value=-1, time=1.0)
    judgements = judge([down, FeedbackEvent("r1", "click", 0)], 1)
    assert (judgements.chosen, judgements.rejected, judgements.is_ranking_rejected) == ([0], [], True)
    assert judgements.rejections == 1
    up_later = FeedbackEvent("r1", "thumb", time=2.0)
    assert not judge([up_later, down], 1).is_ranking_rejected
    assert judge([up_later], 1).chosen == []


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    opened = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("events", "is_chosen"),
    [
        ([("click", 1.0)], True),
        ([("click", 1.0), ("thumb", -1.0)], False),
        ([("thumb", -1.0), ("click", 1.0)], False),
        ([("thumb", -1.0), ("thumb", 1.0)], True),
        ([("grade", 2.0), ("thumb", -1.0), ("click", 1.0)], False),
        ([("grade", 0.0), ("grade", 1.0)], True),
    ],
)
def test_everybody_reads_the_same(store: TraceStore, events: list[tuple[Kind, float]], is_chosen: bool) -> None:
    """Detectors, monitoring and experiments agree on the document at rank 1."""
    now = time.time()
    documents = [Document(f"text {position}") for position in range(3)]
    record = ranking("q", documents, [3.0, 2.0, 1.0], request_id="r1", tenant="")
    store.write([build_trace(replace(record, experiment="e", variant="challenger"))])
    add_feedback(
        store,
        [
            FeedbackEvent("r1", kind, 0, value=value, time=now - 10 + number)
            for number, (kind, value) in enumerate(events)
        ],
    )
    (full,) = store.load(store.list_traces())
    feedback = feedback_on(store, full.trace)
    assert judge_trace(full, feedback).chosen == ([0] if is_chosen else [])
    detections = [detection.detector for detection in run_detectors(full, feedback)]
    assert detections == ([] if is_chosen else ["top_rejected"])
    rates = monitor(store)[0].feedback
    assert (rates.requests, rates.negative) == ((1, 0) if is_chosen else (0, 1))
    aggregator = FeedbackAggregator(Experiment("e", "canary", "mini", "other", created=now - 60, id=1))
    aggregator.poll(store)
    sums = aggregator.sums()["challenger"]
    assert sums["thumbs_down"].total == (0.0 if is_chosen else 1.0)
    assert ("misplaced" in sums) == is_chosen
