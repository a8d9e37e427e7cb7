"""Pages of traces: order, filters, keyset paging, and that an index alone answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.traces.pages import ORDERS, Cursor, Order, page_query, read_page
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Document
from tests.unit.traces.rankings import ranking

COUNT = 23


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceStore]:
    """Return a store with traces of two tenants, some of which have equal times, margins and durations."""
    folder: Path = tmp_path_factory.mktemp("pages")
    opened = TraceStore(f"sqlite:///{folder}/traces.sqlite")
    made = []
    for number in range(COUNT):
        record = ranking(
            f"Question {number} 差旅报销",
            [Document(f"text {position}") for position in range(6)],
            [float((number * 7 + position * position * (number + 1)) % 5) for position in range(6)],
            at=float(1000 + number // 3),
            request_id=f"r{number}",
            tenant="search" if number % 2 else "other",
        )
        timings = {**record.timings, "total": float(number % 4)}
        made.append(build_trace(replace(record, timings=timings, version=f"v{number % 3}")))
    opened.write(made)
    yield opened
    opened.close()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("where", [TraceFilter(), TraceFilter(tenant="search"), TraceFilter(version="v1")])
def test_pages_follow_one_another_and_lead_back(store: TraceStore, order: Order, where: TraceFilter) -> None:
    whole = [trace.id for trace in read_page(store, where, order=order, limit=100).traces]
    assert len(whole) == len(set(whole)) == len(store.list_traces(where, limit=100))
    pages, cursor = [], None
    while True:
        page = read_page(store, where, order=order, cursor=cursor, limit=5)
        pages.append([trace.id for trace in page.traces])
        assert (page.previous is None) == (cursor is None)
        if page.next is None:
            break
        cursor = Cursor.parse(str(page.next))
    assert [number for numbers in pages for number in numbers] == whole
    for numbers in reversed(pages[:-1]):
        assert page.previous is not None
        page = read_page(store, where, order=order, cursor=page.previous, limit=5)
        assert [trace.id for trace in page.traces] == numbers
        assert page.next is not None
    assert page.previous is None


def test_orders_sort_by_what_they_say(store: TraceStore) -> None:
    def values(order: Order, name: str) -> list[float]:
        return [getattr(trace, name) for trace in read_page(store, order=order, limit=100).traces]

    assert values("newest", "time") == sorted(values("newest", "time"), reverse=True)
    assert values("oldest", "time") == sorted(values("oldest", "time"))
    assert values("moved", "promotion") == sorted(values("moved", "promotion"), reverse=True)
    assert values("margin", "margin") == sorted(values("margin", "margin"))
    assert values("slowest", "total_ms") == sorted(values("slowest", "total_ms"), reverse=True)


@pytest.mark.parametrize(
    ("search", "count"),
    [
        ("QUESTION", COUNT),
        ("差旅", COUNT),
        ("报销 question", COUNT),
        ("question　１７", 1),
        ("' OR 1=1 --", 0),
        ("100%", 0),
        ("_", 0),
        ("  ", COUNT),
    ],
)
def test_a_search_finds_parts_of_words_in_any_order(store: TraceStore, search: str, count: int) -> None:
    assert len(read_page(store, TraceFilter(search=search), limit=100).traces) == count


@pytest.mark.parametrize(
    "text", ["", "x", "nan:1", "1.0", "1.0:-1", "1.0:99999999999999999999", "inf:x", "1:2", "before:", "1.0:1 "]
)
def test_a_cursor_that_no_page_gave_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be found"):
        Cursor.parse(text)


FILTERS = {
    "none": TraceFilter(),
    "time": TraceFilter(since=1001.0, until=1003.0),
    "tenant": TraceFilter(tenant="search"),
    "model": TraceFilter(model="mini"),
    "version": TraceFilter(version="v1"),
    "experiment": TraceFilter(experiment="ab", variant="a"),
    "feedback": TraceFilter(has_feedback=True),
    "case": TraceFilter(has_case=True),
    "search": TraceFilter(search="question"),
    "all": TraceFilter("search", 1001.0, 1003.0, "mini", None, "ab", "a", "v1", "question", True, True),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", FILTERS)
def test_an_index_alone_answers_each_filter_and_order(store: TraceStore, name: str, order: Order) -> None:
    query = page_query(FILTERS[name], order, Cursor(1.0, 5), 50)
    statement = str(query.compile(store.engine, compile_kwargs={"literal_binds": True}))
    with store.connect() as connection:
        plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")]
    of_traces = [step for step in plan if " trace " in f"{step} "]
    assert of_traces
    assert all("USING COVERING INDEX trace_" in step for step in of_traces), plan
