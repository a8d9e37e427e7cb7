"""What rules and fusion did on purpose: no case is made of it, and no case shows what a rule hid."""

from __future__ import annotations

import numpy as np
import pytest

from rerankd.errors import InvalidRequestError
from rerankd.feedback.case_store import add_cases, flag_request, get_case, list_cases
from rerankd.feedback.case_update import update_case
from rerankd.feedback.detection import detect, detect_disagreement
from rerankd.feedback.detectors import Detection, DetectorThresholds
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.monitoring import monitor
from rerankd.feedback.store import add_feedback
from rerankd.traces.packing import Candidates, pack, unpack
from rerankd.traces.replay import replay_traces
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.types import Fusion
from tests.unit.feedback.written import write

SCORES = (4.0, 3.0, 2.0, 1.0, -6.0)
WEIGHTED, RRF = Fusion("weighted", 2.0), Fusion("rrf", 1.0)
AGAINST = (1.0, 2.0, 3.0, 4.0, 50.0)  # a first stage that would have it the other way


def found(store: TraceStore, *events: FeedbackEvent) -> set[tuple[str, int]]:
    """Detect, and return detectors and positions."""
    add_feedback(store, events)
    detect(store, TraceFilter())
    return {(case.detector, case.position) for case in list_cases(store)}


def margin(store: TraceStore) -> float | None:
    (trace,) = store.list_traces()
    return trace.margin


@pytest.mark.parametrize(
    ("rules", "fusion"),
    [
        ({4: "pin 1"}, None),
        ({4: "pin 1", 3: "pin 2"}, None),
        ({0: "pin 5"}, None),
        ({4: "boost 11"}, None),
        ({0: "boost -11"}, None),
        ({0: "filter"}, None),
        ({0: "filter", 4: "pin 1"}, None),
        ({}, WEIGHTED),
        ({}, RRF),
        ({4: "pin 2"}, RRF),
        ({1: "filter"}, WEIGHTED),
    ],
)
def test_an_order_that_was_asked_for_is_no_case(
    store: TraceStore, rules: dict[int, str], fusion: Fusion | None
) -> None:
    write(store, "r1", *SCORES, rules=rules, fusion=fusion, first_scores=AGAINST)
    assert found(store) == set()
    measured = margin(store)
    assert measured is None if fusion == RRF else measured is not None and measured > 0.02


def test_the_margin_is_that_of_the_documents_that_the_model_placed(store: TraceStore) -> None:
    write(store, "r1", 9.0, 3.0, 2.99, -5.0, rules={0: "filter", 3: "pin 1"})
    assert margin(store) == pytest.approx(0.01)
    assert found(store) == {("low_margin", -1)}


def test_the_margin_of_a_weighted_fusion_is_in_logits(store: TraceStore) -> None:
    write(store, "r1", *SCORES, fusion=Fusion("weighted", 0.0), first_scores=AGAINST)
    assert margin(store) == pytest.approx(1.0)


def test_one_document_left_has_no_margin(store: TraceStore) -> None:
    write(store, "r1", 1.0, 1.0, 1.0, rules={0: "filter", 1: "pin 2"})
    assert margin(store) is None


def test_negative_margins_of_older_versions_are_no_cases(store: TraceStore) -> None:
    write(store, "r1", 1.0, 5.0)
    with store.begin() as connection:
        connection.exec_driver_sql("UPDATE trace SET margin = -7.5")
    assert found(store) == set()


@pytest.mark.parametrize("rule", ["pin 5", "pin 4"])
def test_a_click_on_a_document_that_a_rule_put_low_is_no_case(store: TraceStore, rule: str) -> None:
    write(store, "r1", *SCORES, rules={0: rule})
    assert found(store, FeedbackEvent("r1", "click", 0, tenant="search")) == set()


def test_a_document_is_not_low_because_pins_are_above_it(store: TraceStore) -> None:
    write(store, "r1", 1.0, 9.0, 8.0, 7.0, rules={1: "pin 1", 2: "pin 2", 3: "pin 3"})
    assert found(store, FeedbackEvent("r1", "click", 0, tenant="search")) == set()


def test_a_document_low_among_the_unpinned_is_a_case(store: TraceStore) -> None:
    write(store, "r1", *SCORES, rules={1: "pin 1"})
    assert found(store, FeedbackEvent("r1", "click", 4, tenant="search")) == {("chosen_low", 4)}


def test_the_first_document_that_the_model_placed_is_the_one_to_reject(store: TraceStore) -> None:
    write(store, "r1", *SCORES, rules={4: "pin 1"})
    assert found(store, FeedbackEvent("r1", "thumb", 4, value=-1, tenant="search")) == set()
    write(store, "r2", *SCORES, rules={4: "pin 1"})
    assert found(store, FeedbackEvent("r2", "thumb", 0, value=-1, tenant="search")) == {("top_rejected", 0)}


@pytest.mark.parametrize("rules", [{4: "pin 1"}, {0: "filter"}, {4: "boost 11"}])
def test_a_second_model_ranks_under_the_same_rules(store: TraceStore, rules: dict[int, str]) -> None:
    write(store, "r1", *SCORES, rules=rules)
    same = detect_disagreement(
        store, TraceFilter(), "twin", lambda query, texts, _: list(SCORES), DetectorThresholds(agreement=1.1)
    )
    assert same == {"disagreement": 0}
    (replay,) = replay_traces(store.load(store.list_traces()), lambda query, texts, _: list(SCORES))
    assert (replay.tau, replay.moves) == (1.0, ())


@pytest.mark.parametrize("fusion", [WEIGHTED, RRF])
def test_a_second_model_is_fused_as_the_first_was(store: TraceStore, fusion: Fusion) -> None:
    write(store, "r1", *SCORES, fusion=fusion, first_scores=AGAINST)
    (replay,) = replay_traces(store.load(store.list_traces()), lambda query, texts, _: list(SCORES))
    assert (replay.tau, replay.moves) == (1.0, ())


def test_outliers_are_those_of_the_model_not_of_boosts(store: TraceStore) -> None:
    for number in range(120):
        write(store, f"r{number}", 4.0 + number % 7 / 10, 1.0)
    write(store, "boosted", 4.2, 1.0, rules={1: "boost 40"})
    write(store, "hidden", 90.0, 4.1, 1.0, rules={0: "filter"})
    assert found(store) == set()
    write(store, "odd", 60.0, 4.1)
    assert found(store) == {("outlier", -1)}


def test_a_hidden_document_is_in_no_case(store: TraceStore) -> None:
    write(store, "r1", *SCORES, rules={1: "filter"})
    assert flag_request(store, "r1", "search") == 1
    (case,) = list_cases(store)
    assert [candidate.index for candidate in case.candidates] == [0, 2, 3, 4]
    assert "r1 text 1" not in repr(get_case(store, case.id, "search"))
    assert "d1" not in repr(case)
    for tenant in ("search", None):
        with pytest.raises(InvalidRequestError, match="There is no document 1"):
            flag_request(store, "r1", tenant, 1)
    with pytest.raises(InvalidRequestError, match="has no document 1"):
        update_case(store, case.id, "search", {1: 1})


@pytest.mark.parametrize(
    "event",
    [
        FeedbackEvent("r1", "click", 1, tenant="search"),
        FeedbackEvent("r1", "grade", document_id="d1", value=3, tenant="search"),
        FeedbackEvent("r1", "thumb", 1, value=-1, tenant="search"),
    ],
)
def test_feedback_on_a_hidden_document_counts_for_nothing(store: TraceStore, event: FeedbackEvent) -> None:
    write(store, "r1", *SCORES, rules={1: "filter"})
    assert found(store, event) == set()
    (row, _) = monitor(store)
    assert (row.feedback.requests, row.feedback.negative) == (0, 0)


def test_measures_leave_hidden_documents_out(store: TraceStore) -> None:
    write(store, "r1", 9.0, 3.0, 1.0, rules={0: "filter"})
    (trace,) = store.list_traces()
    assert (trace.top_before, trace.top_score, trace.margin, trace.tau) == (2, 3.0, 2.0, 1.0)


def test_a_replay_never_names_a_hidden_document(store: TraceStore) -> None:
    write(store, "r1", *SCORES, rules={1: "filter"})
    (replay,) = replay_traces(store.load(store.list_traces()), lambda query, texts, _: list(AGAINST))
    assert 1 not in {moved.index for moved in replay.moves}
    detect_disagreement(store, TraceFilter(), "other", lambda query, texts, _: list(AGAINST))
    assert "r1 text 1" not in repr(list_cases(store))


def test_traces_of_older_versions_know_what_was_hidden_by_the_labels(store: TraceStore) -> None:
    ones = np.ones(4, np.float32)
    labels = {0: ("a: filter",), 1: ("b: c: pin +2", "d: pin +1"), 2: ("odd: filter: boost +0.5", "x: bury -2")}
    old = unpack(pack(Candidates(np.arange(4), ones, ones, np.array([4, 1, 2, 3]), rules=labels)))
    assert old.shown.tolist() == [False, True, True, True]
    assert old.ranks_without_pins.tolist() == [0, 0, 1, 2]
    assert (old.adjustments[1].pin_to, old.adjustments[2].boost) == (1, -1.5)


def test_a_case_that_was_added_from_a_trace_shows_what_was_shown(store: TraceStore) -> None:
    write(store, "r1", *[float(-number) for number in range(300)], rules={299: "filter"})
    (full,) = store.load(store.list_traces())
    add_cases(store, full, [Detection("chosen_low", 299, 1.0, "")])
    (case,) = list_cases(store)
    assert 299 not in {candidate.index for candidate in case.candidates}
