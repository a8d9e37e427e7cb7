"""Marks of traces with feedback and cases, whichever comes first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from rerankd.database import tables
from rerankd.feedback.case_store import flag_request
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.store import add_feedback, drop_impossible_feedback, mark_feedback
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from tests.unit.traces.rankings import ranking

WITH_FEEDBACK, WITH_CASE = TraceFilter(has_feedback=True), TraceFilter(has_case=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    opened = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    yield opened
    opened.close()


def listed(store: TraceStore, where: TraceFilter) -> list[str]:
    return sorted(trace.request_id for trace in store.list_traces(where))


def test_feedback_before_and_after_its_trace(store: TraceStore) -> None:
    add_feedback(store, [FeedbackEvent("early", "click", 0, tenant="search")])
    store.write([build_trace(ranking(request_id=name)) for name in ("early", "late", "none")])
    assert listed(store, WITH_FEEDBACK) == ["early"]
    add_feedback(store, [FeedbackEvent("late", "thumb", value=-1, tenant="search")])
    add_feedback(store, [FeedbackEvent("none", "click", 0, tenant="another")])
    assert listed(store, WITH_FEEDBACK) == ["early", "late"]


def test_a_case_marks_its_trace(store: TraceStore) -> None:
    store.write([build_trace(ranking(request_id=name)) for name in ("good", "bad")])
    flag_request(store, "bad", "search")
    assert listed(store, WITH_CASE) == ["bad"]
    store.write([build_trace(ranking(request_id="bad"))])
    assert listed(store, WITH_CASE) == ["bad", "bad"]


def test_a_mark_goes_with_feedback_that_was_impossible(store: TraceStore) -> None:
    add_feedback(store, [FeedbackEvent("r1", "click", 100, tenant="search")])
    store.write([build_trace(ranking())])
    drop_impossible_feedback(store, 0.0)
    assert listed(store, WITH_FEEDBACK) == []


def test_a_mark_that_was_missed_is_set_by_maintenance(store: TraceStore) -> None:
    store.write([build_trace(ranking())])
    add_feedback(store, [FeedbackEvent("r1", "click", 0, tenant="search")])
    with store.begin() as connection:
        connection.execute(update(tables.trace).values(has_feedback=False))
    mark_feedback(store, 0.0)
    assert listed(store, WITH_FEEDBACK) == ["r1"]
