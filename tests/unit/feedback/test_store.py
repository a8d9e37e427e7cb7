from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.feedback.events import FeedbackEvent, read_csv, validate_event
from rerankd.feedback.store import add_feedback, import_feedback, read_feedback
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from tests.unit.traces.rankings import ranking


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
