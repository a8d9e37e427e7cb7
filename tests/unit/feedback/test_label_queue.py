from __future__ import annotations

import time

import pytest
from sqlalchemy import func, select

from rerankd.database import tables
from rerankd.errors import InvalidRequestError
from rerankd.feedback.case_store import add_cases, list_cases
from rerankd.feedback.case_update import update_case
from rerankd.feedback.detectors import Detection
from rerankd.feedback.label_queue import (
    QueuePosition,
    queued_cases,
    queued_traces,
    recent_cases,
    skip_ranking,
    skipped_rankings,
    unskip_ranking,
)
from rerankd.feedback.labelling import label_ranking, own_id
from rerankd.feedback.retention import DAY, RetentionPolicy, erase_tenant, prune
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from tests.unit.feedback.written import write
from tests.unit.traces.rankings import ranking


def add_case(store: TraceStore, name: str, severity: float, tenant: str = "search") -> int:
    write(store, name, 2, 1, tenant=tenant, query=f"query {name}")
    (full,) = store.load(store.list_traces(TraceFilter(request_id=name)))
    add_cases(store, full, [Detection("manual", -1, severity, "")])
    return next(case.id for case in list_cases(store) if case.request_id == name)


def names(store: TraceStore, labeller: str = "Ann", tenant: str | None = None, **options: object) -> list[str]:
    return [case.request_id for case in queued_cases(store, labeller, tenant, **options)]  # type: ignore[arg-type]


def test_the_most_severe_open_case_comes_first(store: TraceStore) -> None:
    ids = {name: add_case(store, name, severity) for name, severity in (("low", 1), ("high", 3), ("also high", 3))}
    theirs = add_case(store, "theirs", 9, "shop")
    assert names(store) == ["theirs", "also high", "high", "low"]
    assert names(store, tenant="search") == ["also high", "high", "low"]
    assert names(store, after=QueuePosition(case=ids["also high"])) == ["high", "low"]
    assert names(store, after=QueuePosition(case=ids["low"])) == []
    assert names(store, after=QueuePosition(trace=1)) == []
    update_case(store, theirs, grades={0: 1}, labeller="Bo")
    update_case(store, ids["high"], state="wont_fix")
    assert names(store) == ["also high", "low"]


def test_a_second_labeller_is_brought_what_another_one_labelled(store: TraceStore) -> None:
    ids = {name: add_case(store, name, 1) for name in ("by Bo", "by both", "by Ann", "by nobody")}
    for name, labellers in (("by Bo", ["Bo"]), ("by both", ["Ann", "Bo"]), ("by Ann", ["Ann"])):
        for labeller in labellers:
            update_case(store, ids[name], grades={0: 1}, labeller=labeller)
    assert names(store, "Ann", queue="second") == ["by Bo"]
    assert names(store, "Bo", queue="second") == ["by Ann"]
    assert names(store, "Cy", queue="second") == ["by Ann", "by both", "by Bo"]
    assert [case.request_id for case in recent_cases(store, "Bo")] == ["by both", "by Bo"]
    assert recent_cases(store, "Bo", "shop") == []


def test_then_the_lowest_margins_that_nobody_labelled(store: TraceStore) -> None:
    for name, margin in (("wide", 2.0), ("close", 0.1), ("closest", 0.01)):
        write(store, name, margin, 0, query=name)
    write(store, "alone", 1.0)
    store.write([build_trace(ranking(documents=("a", "b"), scores=(0.05, 0), request_id="", tenant="shop"))])

    def listed(**options: object) -> list[str]:
        return [trace.request_id for trace in queued_traces(store, "Ann", **options)]  # type: ignore[arg-type]

    assert listed() == ["closest", "", "close", "wide"]
    assert listed(tenant="search") == ["closest", "close", "wide"]
    first, unnamed, second, _ = queued_traces(store, "Ann")
    assert listed(after=QueuePosition(trace=first.id), limit=2) == ["", "close"]
    for trace in (first, unnamed):
        (full,) = store.load([trace])
        label_ranking(store, full, "Bo", {0: 1})
    assert listed() == ["close", "wide"]
    skip_ranking(store, second.tenant, second.request_id, "Ann", "not my field")
    assert listed() == ["wide"]
    assert [trace.request_id for trace in queued_traces(store, "Bo")] == ["close", "wide"]


def test_a_repeated_ranking_is_brought_once(store: TraceStore) -> None:
    for name, query, margin in (("a", "q", 0.5), ("b", "q", 0.5), ("c", "other", 0.5), ("d", "q", 0.75)):
        store.write([build_trace(ranking(query, ("x", "y"), (margin, 0), request_id=name))])
    assert [trace.request_id for trace in queued_traces(store, "Ann")] == ["a", "c", "d"]
    (full,) = store.load(store.list_traces(TraceFilter(request_id="a")))
    label_ranking(store, full, "Ann", {0: 1})
    assert [trace.request_id for trace in queued_traces(store, "Ann")] == ["c", "d"]


def test_after_what_is_gone_the_queue_begins_again(store: TraceStore) -> None:
    add_case(store, "case", 1)
    write(store, "trace", 2, 1)
    assert names(store, after=QueuePosition(case=10**9)) == ["case"]
    assert [trace.request_id for trace in queued_traces(store, "Ann", after=QueuePosition(trace=10**9))] == ["trace"]


def test_what_is_skipped_comes_back(store: TraceStore) -> None:
    add_case(store, "r1", 1)
    skip_ranking(store, "search", "r1", "Ann", "ask Bo")
    skip_ranking(store, "search", "r1", "Ann", "ask Cy")
    assert names(store) == []
    assert names(store, "Bo") == ["r1"]
    (skipped,) = skipped_rankings(store, "Ann")
    assert (skipped.request_id, skipped.reason) == ("r1", "ask Cy")
    assert skipped_rankings(store, "Ann", "shop") == []
    unskip_ranking(store, "search", "r1", "Ann")
    assert names(store) == ["r1"]
    for reason in ("", "  ", "x" * 501, "\0"):
        with pytest.raises(InvalidRequestError, match="reason"):
            skip_ranking(store, "search", "r1", "Ann", reason)


def test_skips_go_with_their_traces_and_tenants(store: TraceStore) -> None:
    now = time.time()
    add_case(store, "case", 1)
    write(store, "old", 2, 1, at=now - 40 * DAY, tenant="shop")
    (old, case) = sorted(store.list_traces(), key=lambda trace: trace.time)
    for trace in (old, case):
        skip_ranking(store, trace.tenant, trace.request_id or own_id(trace), "Ann", "unclear")
    prune(store, RetentionPolicy(seconds=30 * DAY), now=now + 31 * DAY)
    assert [each.request_id for each in skipped_rankings(store, "Ann")] == ["case"]
    erase_tenant(store, "search")
    with store.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(tables.label_skip)) == 0
