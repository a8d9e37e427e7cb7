from __future__ import annotations

import json
from pathlib import Path

import pytest

from rerankd.errors import InvalidRequestError, NotFoundError
from rerankd.feedback.case_export import graded_cases, training_lines
from rerankd.feedback.case_store import CaseFilter, flag_request, get_case, list_cases
from rerankd.feedback.case_update import update_case
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.label_store import MAX_HISTORY, count_changes, label_coverage, read_labellers, read_labels
from rerankd.feedback.labelling import case_of, get_trace, label_ranking, own_id, trace_of, undo_label
from rerankd.feedback.retention import RetentionPolicy, erase_document, erase_tenant, prune
from rerankd.feedback.store import add_feedback
from rerankd.traces.store import FullTrace, TraceStore
from rerankd.traces.trace import build_trace
from tests.unit.feedback.written import write
from tests.unit.traces.rankings import ranking


def newest(store: TraceStore) -> FullTrace:
    return store.load(store.list_traces(limit=1))[0]


def test_a_labelled_ranking_is_a_case_that_exports_see(store: TraceStore) -> None:
    write(store, "r1", 3, 2, 1)
    case = label_ranking(store, newest(store), "Ann", {2: 3})
    case = label_ranking(store, newest(store), "Ann", {0: 0})
    assert (case.state, case.grades, case.severity) == ("labelled", {0: 0, 2: 3}, 0.0)
    assert [(each.detector, each.position) for each in case.reasons] == [("labelled", -1)]
    prune(store, RetentionPolicy(seconds=1e-9))
    (line,) = training_lines(graded_cases(store, CaseFilter(state="labelled")))
    assert (line["pos"], line["neg"]) == (["r1 text 2"], ["r1 text 0", "r1 text 1"])
    assert trace_of(store, case) is None


def test_labels_of_several_people_and_of_the_command_line_are_one_case(store: TraceStore) -> None:
    write(store, "r1", 3, 2, 1)
    flag_request(store, "r1", "search", note="wrong")
    (flagged,) = list_cases(store)
    update_case(store, flagged.id, grades={0: 2})  # as older versions did, and requests without a key
    for name, grade in (("Ann", 3), ("Bo", 1)):
        label_ranking(store, newest(store), name, {0: grade})
    (case,) = list_cases(store)
    assert [(each.labeller, each.grade) for each in read_labels(store, [case.id])[case.id]] == [
        ("", 2),
        ("Ann", 3),
        ("Bo", 1),
    ]
    assert case.grades == {0: 1}
    assert update_case(store, case.id, grades={0: 2}, labeller="Cy").grades == {0: 2}
    assert [each.detector for each in case.reasons] == ["manual"]
    assert read_labellers(store) == {"Ann": 1, "Bo": 1, "Cy": 1}
    assert read_labellers(store, "other") == {}


def test_feedback_counts_where_nobody_labelled(store: TraceStore) -> None:
    write(store, "r1", 3, 2, 1)
    add_feedback(store, [FeedbackEvent("r1", "grade", index, value=2, tenant="search") for index in (0, 1)])
    label_ranking(store, newest(store), "Ann", {0: 0})
    (case,) = graded_cases(store, CaseFilter())
    assert case.grades == {0: 0, 1: 2}


def test_changes_are_undone_one_by_one(store: TraceStore) -> None:
    write(store, "r1", 3, 2, 1)
    full = newest(store)
    for position, grade in ((0, 1), (1, 2), (0, 3), (0, 3), (1, None)):  # the same grade again is no change
        case = label_ranking(store, full, "Ann", {position: grade})
    assert case.grades == {0: 3}
    label_ranking(store, full, "Bo", {0: 3})
    assert count_changes(store, case.id, "Ann") == 4
    grades = []
    for _ in range(4):
        undone = undo_label(store, case.id, "search", "Ann")
        assert undone is not None
        assert undone.case is not None
        grades.append((undone.position, undone.case.grades))
    assert grades == [(1, {0: 3, 1: 2}), (0, {0: 1, 1: 2}), (1, {0: 1}), (0, {0: 3})]
    assert undo_label(store, case.id, None, "Ann") is None
    with pytest.raises(NotFoundError):
        undo_label(store, case.id, "other", "Bo")
    undone = undo_label(store, case.id, None, "Bo")
    assert undone is not None
    assert undone.case is None  # only labels made it
    assert list_cases(store) == []


def test_a_flagged_case_is_open_again_without_grades(store: TraceStore) -> None:
    write(store, "r1", 3, 2, 1)
    flag_request(store, "r1", "search")
    case = label_ranking(store, newest(store), "Ann", {0: 1})
    undo_label(store, case.id, None, "Ann")
    assert get_case(store, case.id).state == "open"
    label_ranking(store, newest(store), "Ann", {0: 1})
    assert update_case(store, case.id, grades={0: None}, labeller="Ann").state == "open"
    undone = undo_label(store, case.id, None, "Ann")
    assert undone is not None
    assert undone.case is not None
    assert (undone.case.state, undone.case.grades) == ("labelled", {0: 1})


def test_the_history_is_bounded(store: TraceStore) -> None:
    write(store, "r1", 3, 2, 1)
    full = newest(store)
    for number in range(3 * MAX_HISTORY):
        case = label_ranking(store, full, "Ann", {0: number % 4})
    assert count_changes(store, case.id, "Ann") == MAX_HISTORY
    assert [each.grade for each in read_labels(store, [case.id])[case.id]] == [(3 * MAX_HISTORY - 1) % 4]


def test_a_ranking_without_a_request_id_can_be_labelled(store: TraceStore) -> None:
    store.write([build_trace(ranking(request_id=""))])
    full = newest(store)
    case = label_ranking(store, full, "Ann", {1: 2})
    assert case.request_id == own_id(full.trace)
    assert case_of(store, full) == case
    found = trace_of(store, case)
    assert found is not None
    assert found.id == full.trace.id


def test_a_request_id_that_is_used_again_is_another_case(store: TraceStore) -> None:
    write(store, "r1", 3, 2, 1, query="first")
    first = newest(store)
    write(store, "r1", 3, 2, 1, query="second")
    second = newest(store)
    label_ranking(store, first, "Ann", {0: 3})
    assert case_of(store, second) is None
    label_ranking(store, second, "Ann", {0: 0})
    cases = {case.query: case for case in list_cases(store)}
    assert (cases["first"].grades, cases["second"].grades) == ({0: 3}, {0: 0})
    found = trace_of(store, cases["first"])
    assert found is not None
    assert found.id == first.trace.id


def test_documents_below_the_copy_are_added_to_it(store: TraceStore) -> None:
    write(store, "r1", *range(300, 0, -1))
    full = newest(store)
    label_ranking(store, full, "Ann", {0: 0})
    case = label_ranking(store, full, "Ann", {250: 3})
    assert case.grades == {0: 0, 250: 3}
    assert len(case.candidates) == 201


def test_what_cannot_be_labelled_is_refused(store: TraceStore) -> None:
    write(store, "r1", 3, 2, 1, rules={1: "filter"})
    full = newest(store)
    for grades in ({1: 1}, {3: 1}, {-1: 1}, {0: 101}, {0: -1}):
        with pytest.raises(InvalidRequestError):
            label_ranking(store, full, "Ann", grades)
    with pytest.raises(InvalidRequestError):
        label_ranking(store, full, "\0", {0: 1})
    for number in (0, -1, 2**70, full.trace.id + 1):
        with pytest.raises(NotFoundError):
            get_trace(store, number)
    assert get_trace(store, full.trace.id, "search").trace == full.trace
    with pytest.raises(NotFoundError):
        get_trace(store, full.trace.id, "other")


def test_coverage_counts_the_first_ten(store: TraceStore) -> None:
    assert label_coverage(store).rankings == 0
    write(store, "long", *range(30, 0, -1))
    label_ranking(store, newest(store), "Ann", {0: 1, 9: 0, 10: 0, 29: 2})
    label_ranking(store, newest(store), "Bo", {0: 3, 1: 1})
    write(store, "short", 3, 2, 1, tenant="shop")
    label_ranking(store, newest(store), "Ann", {0: 1})
    all_of_them = label_coverage(store)
    assert (all_of_them.rankings, all_of_them.labelled, all_of_them.pool) == (2, 4, 13)
    assert label_coverage(store, "shop").pool == 3


def test_labels_are_erased_with_their_tenant_and_keep_no_text(store: TraceStore) -> None:
    for tenant in ("mine", "yours"):
        write(store, f"r-{tenant}", 3, 2, tenant=tenant)
        label_ranking(store, newest(store), f"LABELLER-{tenant}", {0: 1})
    erase_document(store, "d0", "mine")
    (case,) = list_cases(store, CaseFilter("mine"))
    assert [each.text for each in case.candidates] == [None, "r-mine text 1"]
    assert read_labels(store, [case.id])[case.id][0].grade == 1
    assert list(training_lines([case])) == []
    erase_tenant(store, "mine")
    assert read_labellers(store) == {"LABELLER-yours": 1}
    folder = Path(str(store.engine.url.database)).parent
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"LABELLER-mine" not in content
    assert b"LABELLER-yours" in content


def test_labels_outlive_their_traces(store: TraceStore) -> None:
    write(store, "r1", 3, 2)
    case = label_ranking(store, newest(store), "Ann", {0: 1})
    prune(store, RetentionPolicy(seconds=1e-9))
    assert json.dumps(get_case(store, case.id).grades) == '{"0": 1}'
    assert read_labellers(store) == {"Ann": 1}
