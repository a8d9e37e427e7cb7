from __future__ import annotations

from rerankd.feedback.case_store import CaseFilter, list_cases
from rerankd.feedback.detection import CaseDetector, DetectionLimits, detect, detect_disagreement
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.store import add_feedback
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from tests.unit.feedback.written import write
from tests.unit.traces.rankings import ranking


def test_a_problem_that_is_detected_twice_is_one_case(store: TraceStore) -> None:
    write(store, "bad", 5, 4, 3, 2, 1)
    write(store, "good", 5, 4, 3, 2, 1)
    write(store, "close", 5, 4.999, 3)
    events = [FeedbackEvent("bad", "click", 4, tenant="search"), FeedbackEvent("good", "click", 0, tenant="search")]
    assert add_feedback(store, events) == 2
    assert detect(store, TraceFilter()) == {"chosen_low": 1, "low_margin": 1}
    assert detect(store, TraceFilter()) == {"chosen_low": 0, "low_margin": 0}
    low, close = list_cases(store)
    assert (low.detector, low.request_id, low.position, low.state) == ("chosen_low", "bad", 4, "open")
    assert (low.query, low.candidates[4].text, low.candidates[4].rank_after) == ("q", "bad text 4", 5)
    assert close.detector == "low_margin"
    assert detect(store, TraceFilter(tenant="other")) == {}
    assert [case.id for case in list_cases(store, CaseFilter(detector="low_margin"))] == [close.id]


def test_cases_by_score_are_limited_and_cases_by_feedback_are_not(store: TraceStore) -> None:
    for number in range(8):
        write(store, f"r{number}", 1 + number / 1000, 1)
        add_feedback(store, [FeedbackEvent(f"r{number}", "thumb", value=-1, tenant="search")])
    cases = detect(store, TraceFilter(), limits=DetectionLimits(each=3))
    assert cases == {"top_rejected": 8, "low_margin": 3}
    worst = [case.request_id for case in list_cases(store, CaseFilter(detector="low_margin"))]
    assert worst == ["r0", "r1", "r2"]


def test_the_detector_reads_new_traces_only(store: TraceStore) -> None:
    detector = CaseDetector(overlap=0.0, clock=lambda: 1e10)
    write(store, "before", 1, 1)
    assert detector(store) == {}
    store.write([build_trace(ranking("q", scores=[1, 1, 0], request_id="after", at=2e10))])
    assert detector(store) == {"low_margin": 1}


def test_a_second_model_disagrees(store: TraceStore) -> None:
    write(store, "r1", 3, 2, 1)
    same = detect_disagreement(store, TraceFilter(), "twin", lambda query, texts, _: [3.0, 2.0, 1.0])
    assert same == {"disagreement": 0}
    other = detect_disagreement(store, TraceFilter(), "other", lambda query, texts, _: [1.0, 2.0, 3.0])
    assert other == {"disagreement": 1}
    assert list_cases(store)[0].note.startswith("other puts another document first")
