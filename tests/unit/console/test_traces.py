"""The address of the list of traces, its choices, and the content of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import orjson
import pytest
from pydantic import ValidationError

from rerankd.console.messages import messages
from rerankd.console.trace_content import STEPS, listed_traces, other_model, trace_details
from rerankd.console.trace_facets import FacetCache
from rerankd.console.trace_query import PERIODS, TraceQuery
from rerankd.console.traces import trace_number
from rerankd.console.visitor import Visitor
from rerankd.errors import NotFoundError
from rerankd.feedback.cases import STATES
from rerankd.feedback.events import KINDS, FeedbackEvent
from rerankd.feedback.store import add_feedback
from rerankd.server.auth.keys import new_key
from rerankd.traces.pages import ORDERS
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Document
from tests.unit.traces.rankings import ranking

NOW = 1_800_000_000.0
ADMIN = Visitor(None, "en", "")
TENANT = Visitor(new_key("search", tenant="search")[1], "en", "")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    opened = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    yield opened
    opened.close()


def test_a_period_counts_from_now_and_a_range_takes_its_place() -> None:
    assert TraceQuery(period="hour").select(ADMIN, NOW) == TraceFilter(since=NOW - 3600)
    both = TraceQuery.model_validate({"period": "hour", "since": "1970-01-01T00:01", "until": "1970-01-01T00:02"})
    assert both.select(ADMIN, NOW) == TraceFilter(since=60.0, until=120.0)
    assert both.shown(ADMIN) | {"period": None, "since": "1970-01-01T00:01"} == both.shown(ADMIN)


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_time_that_utc_does_not_have_is_refused(moment: str) -> None:
    with pytest.raises(ValidationError, match="out of range"):
        TraceQuery.model_validate({"since": moment})


def test_a_tenant_sees_its_own_rows_whatever_the_address_says() -> None:
    query = TraceQuery(tenant="other")
    assert query.select(ADMIN, NOW) == TraceFilter(tenant="other")
    assert query.select(TENANT, NOW) == TraceFilter(tenant="search")
    assert query.shown(TENANT)["tenant"] is None


def test_addresses_keep_what_is_given_and_nothing_else() -> None:
    query = TraceQuery(q="差旅 &x=1", feedback=True, page="1.0:2")
    assert query.address(page=None) == "/console/traces?feedback=1&q=%E5%B7%AE%E6%97%85+%26x%3D1"
    assert query.address(page="3.0:4", order="slowest").endswith("&page=3.0%3A4&order=slowest")
    assert TraceQuery().address() == "/console/traces"
    since = TraceQuery.model_validate({"since": "2026-01-31T12:00"})
    assert since.address() == "/console/traces?since=2026-01-31T12%3A00%3A00Z"


@pytest.mark.parametrize(
    ("query", "filtered"),
    [
        (TraceQuery(), False),
        (TraceQuery(order="slowest", page="1.0:2", replay="mini"), False),
        (TraceQuery(case=True), True),
        (TraceQuery(q="x"), True),
    ],
)
def test_a_list_is_filtered_if_something_is_left_out(query: TraceQuery, filtered: bool) -> None:
    assert query.is_filtered is filtered


def test_choices_are_read_again_after_a_while(store: TraceStore) -> None:
    now = 0.0
    cache = FacetCache(lambda: now)
    assert cache.read(store, None).models == ()
    store.write([build_trace(ranking(request_id="r1")), build_trace(ranking(tenant="other", request_id="r2"))])
    assert cache.read(store, None).models == ()
    assert cache.read(store, "other").versions == (("v1", "mini"),)
    now = 31.0
    assert cache.read(store, None).tenants == ("other", "search")
    assert cache.read(store, "other").tenants == ("other",)


def test_a_row_of_the_list(store: TraceStore) -> None:
    store.write([build_trace(ranking("q" * 1000 + "\ud800"))])
    (row,) = listed_traces(store, store.list_traces(), None, ["mini", "large model"])
    assert (row["query"], row["query_is_cut"], row["feedback"], row["case"]) == ("q" * 300, True, 0, None)
    assert row["links"]["replay"] == f"/console/compare?trace={row['id']}&model=large%20model"
    assert "parameters" not in row
    assert orjson.dumps(row)


def test_the_details_of_a_trace_are_json_whatever_was_ranked(store: TraceStore) -> None:
    documents = [Document("a\ud800" * 3000, "id"), Document("b")]
    store.write([build_trace(ranking("q\ud800", documents))])
    full = store.find_trace("r1")
    assert full is not None
    details = trace_details(store, full, only_shown=True, replay=None, models=["mini"])
    assert [document["rank_after"] for document in details["documents"]] == [1, 2]
    assert details["documents"][1]["text_is_cut"]
    assert [step["name"] for step in details["steps"]] == [*STEPS, "other"]
    assert sum(step["share"] for step in details["steps"]) == pytest.approx(1.0)
    assert orjson.dumps(details)


def test_the_details_of_a_trace_name_the_documents_that_feedback_is_on(store: TraceStore) -> None:
    store.write([build_trace(ranking("q", [Document("a", "one"), Document("b", "two"), Document("c")]))])
    full = store.find_trace("r1")
    assert full is not None
    events = [
        FeedbackEvent("r1", "click", 0, time=1.0),
        FeedbackEvent("r1", "thumb", document_id="two", value=-1.0, time=2.0),
        FeedbackEvent("r1", "thumb", time=3.0),
        FeedbackEvent("r1", "click", document_id="gone", time=4.0),
    ]
    add_feedback(store, [replace(event, tenant=full.trace.tenant) for event in events])
    details = trace_details(store, full, only_shown=True, replay=None, models=["mini"])
    ranks = {document["index"]: document["rank_after"] for document in details["documents"]}
    assert [event["rank"] for event in details["feedback"]] == [ranks[0], ranks[1], None, None]
    marks = {document["index"]: document["feedback"] for document in details["documents"]}
    assert marks == {0: "chosen", 1: "rejected", 2: None}


def test_a_trace_is_replayed_with_another_model_if_there_is_one(store: TraceStore) -> None:
    store.write([build_trace(ranking())])
    (trace,) = store.list_traces()
    assert other_model(trace, ["mini", "large"]) == "large"
    assert other_model(trace, ["mini"]) == "mini"


@pytest.mark.parametrize("text", ["", "-1", "1.5", "x", "٣", "9" * 19, " 1"])
def test_what_is_no_number_is_not_found(text: str) -> None:
    with pytest.raises(NotFoundError):
        trace_number(text)


def test_messages_that_are_chosen_at_run_time_exist() -> None:
    chosen = {
        *(f"order_{order}" for order in ORDERS),
        *(f"period_{period}" for period in PERIODS),
        *(f"state_{state}" for state in STATES),
        *(f"step_{step}" for step in (*STEPS, "other")),
        *(f"kind_{kind}" for kind in KINDS),
    }
    assert {f"traces.{name}" for name in chosen} <= set(messages())
    period = TraceQuery.model_fields["period"].annotation
    assert set(get_args(get_args(period)[0])) == set(PERIODS)
