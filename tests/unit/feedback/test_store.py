from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.feedback.events import FeedbackEvent, Kind, read_csv, validate_event
from rerankd.feedback.store import add_feedback, drop_impossible_feedback, import_feedback, read_feedback
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from tests.unit.traces.rankings import ranking

CLICKS: list[tuple[Kind, int]] = [("click", 2), ("citation", 3)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    made = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    made.write([build_trace(ranking(request_id="r1", at=100.0)), build_trace(ranking(request_id="r1", at=200.0))])
    yield made
    made.close()


def test_feedback_meets_the_newest_trace_of_its_tenant(store: TraceStore) -> None:
    items = [
        FeedbackEvent("r1", "click", 2, tenant="search"),
        FeedbackEvent("r1", "grade", document_id="d7", value=3, tenant="other"),
        FeedbackEvent("later", "thumb", value=-1, tenant="search"),
    ]
    assert add_feedback(store, items) == 1
    pending, foreign, traced = read_feedback(store)
    assert (pending.trace, foreign.trace) == (None, None)
    assert traced.trace is not None
    assert (traced.trace.time, traced.feedback.kind, traced.feedback.index, traced.feedback.source) == (
        200.0,
        "click",
        2,
        "api",
    )
    assert (foreign.feedback.document_id, foreign.feedback.value) == ("d7", 3.0)
    store.write([build_trace(ranking(request_id="later"))])
    assert read_feedback(store, TraceFilter(tenant="search", request_id="later"))[0].trace is not None
    assert len(read_feedback(store, TraceFilter(model="mini"))) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "like"}, "Unknown kind of feedback: 'like'"),
        ({"request_id": ""}, "request_id is empty"),
        ({"index": None}, "A click needs a document"),
        ({"index": -1}, "index is -1"),
        ({"value": 2.0}, "A click has no value"),
        ({"kind": "thumb", "value": 0.5}, "Use 1 for up, -1 for down"),
        ({"kind": "grade", "value": float("nan")}, "The grade is nan"),
        ({"document_id": "x" * 513}, "longer than 512"),
        ({"time": float("inf")}, "time is not a finite number"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"request_id": "r1", "kind": "click", "index": 0}
    with pytest.raises(InvalidRequestError, match=message):
        validate_event(FeedbackEvent(**(given | fields)))


def test_csv(store: TraceStore) -> None:
    lines = (
        "request_id,kind,index,document_id,value,time,tenant\nr1,click,0,,,,search\nr1,thumb,,,-1,2026-01-31T12:00,\n"
    )
    items = list(read_csv(io.StringIO(lines), tenant="default"))
    assert [(item.kind, item.index, item.value, item.tenant) for item in items] == [
        ("click", 0, 1.0, "search"),
        ("thumb", None, -1.0, "default"),
    ]
    assert items[1].time > 1.7e9
    assert import_feedback(store, items) == (2, 1)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "The columns are: none"),
        ("request_id,kind,colour\n", "allowed are: request_id, kind, index"),
        ("request_id,kind,index\nr1,click,x\n", "Line 2: "),
        ("request_id,kind,index\nr1,click,1\nr1,like,1\n", "Line 3: Unknown kind of feedback: 'like'"),
        ("request_id,kind,index\nr1,click,1,2,3\n", "Line 2: More cells"),
        ("request_id,kind,index\nr1\n", "Line 2: Unknown kind of feedback: ''"),
    ],
)
def test_csv_that_cannot_be_read(lines: str, message: str) -> None:
    with pytest.raises(InvalidInputFileError, match=message):
        list(read_csv(io.StringIO(lines)))


@pytest.mark.parametrize(
    "event",
    [
        FeedbackEvent("r1", "click", 77, tenant="search"),
        FeedbackEvent("r1", "thumb", 3, value=-1, tenant="search"),
        FeedbackEvent("r1", "grade", 2**31 - 1, value=2, tenant="search"),
        FeedbackEvent("r1", "citation", 3, document_id="d1", tenant="search", source="csv"),
    ],
)
def test_a_document_that_the_ranking_does_not_have_is_refused(store: TraceStore, event: FeedbackEvent) -> None:
    good = FeedbackEvent("r1", "click", 2, tenant="search")
    with pytest.raises(InvalidRequestError, match=rf"index is {event.index}, but the ranking 'r1' has 3 documents\."):
        add_feedback(store, [good, event])
    assert read_feedback(store) == []  # all or none


def test_the_newest_ranking_of_a_request_counts(store: TraceStore) -> None:
    store.write([build_trace(ranking(request_id="r1", documents=["a", "b", "c", "d"], at=300.0))])
    assert add_feedback(store, [FeedbackEvent("r1", "click", 3, tenant="search")]) == 1
    store.write([build_trace(ranking(request_id="r1", documents=["a"], at=400.0))])
    with pytest.raises(InvalidRequestError, match=r"has 1 document\."):
        add_feedback(store, [FeedbackEvent("r1", "click", 1, tenant="search")])


def test_an_index_of_another_tenant_or_of_an_unknown_ranking_waits(store: TraceStore) -> None:
    events = [FeedbackEvent("r1", "click", 77, tenant="other"), FeedbackEvent("later", "click", 77, tenant="search")]
    assert add_feedback(store, events) == 0


def test_feedback_that_waited_is_dropped_when_its_ranking_lacks_the_document(
    store: TraceStore, caplog: pytest.LogCaptureFixture
) -> None:
    add_feedback(
        store,
        [FeedbackEvent("later", kind, index, tenant="search") for kind, index in CLICKS]
        + [FeedbackEvent("later", "thumb", value=-1, tenant="search"), FeedbackEvent("later", "click", 9)]
        + [FeedbackEvent("never", "click", 9, tenant="search")],
    )
    assert drop_impossible_feedback(store, 0.0) == 0
    store.write([build_trace(ranking(request_id="later"))])
    assert drop_impossible_feedback(store, 1e11) == 0  # none of these is so new
    assert drop_impossible_feedback(store, 0.0) == 1
    assert "1 item of feedback was dropped: the ranking does not have the document" in caplog.text
    kept = {(item.feedback.request_id, item.feedback.index) for item in read_feedback(store)}
    assert kept == {("later", 2), ("later", None), ("later", 9), ("never", 9)}
    assert drop_impossible_feedback(store, 0.0) == 0
