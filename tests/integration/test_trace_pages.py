"""Pages of traces on SQLite and on a real PostgreSQL, and traces that an older version wrote."""

from __future__ import annotations

import zlib
from contextlib import closing

import pytest
from sqlalchemy import text

from rerankd import Document
from rerankd.database.connection import open_engine
from rerankd.feedback.case_store import flag_request
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.store import add_feedback
from rerankd.traces.pages import ORDERS, Cursor, Order, page_query, read_page
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import PairScore, RankingRecord, RerankRequest
from tests.integration.older_database import make_tables
from tests.integration.postgres import Postgres

COUNT = 12
TRACE = (
    "INSERT INTO trace (id, time, query, parameters, documents, kept, top_before, top_score, truncated, cached, tokens,"
    " tokenization_ms, queue_ms, inference_ms, total_ms, tenant, request_id, source, model, version) "
    "VALUES (:id, :id, :id, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 'mine', :name, 'http', 'mini', 'v1')"
)
PASSAGE = "INSERT INTO passage (id, hash, size, deflated, seen, data) VALUES (:id, :hash, 1, :deflated, 1, :data)"
FEEDBACK = (
    "INSERT INTO feedback (time, tenant, request_id, kind, position, value, source) "
    "VALUES (1, 'mine', 'r2', 'click', 0, 1, 0)"
)


def ranking(number: int) -> RankingRecord:
    documents = [Document(f"text {position}") for position in range(4)]
    request = RerankRequest(f"报销标准 Number {number}", documents, tenant=f"t{number % 2}", request_id=f"r{number}")
    scores = [PairScore(float((number + position * position) % 5), 5, False) for position in range(4)]
    return RankingRecord(request, scores, "mini", "v1", 512, {"total": float(number % 3)}, 0, 100.0 + number // 2)


@pytest.mark.parametrize("order", ORDERS)
def test_pages_follow_one_another(url: str, order: Order) -> None:
    with closing(TraceStore(url)) as store:
        store.write([build_trace(ranking(number)) for number in range(COUNT)])
        for where in (TraceFilter(), TraceFilter(tenant="t1"), TraceFilter(search="报销 number")):
            whole = [trace.id for trace in read_page(store, where, order=order, limit=COUNT).traces]
            first = read_page(store, where, order=order, limit=4)
            assert first.next is not None
            second = read_page(store, where, order=order, cursor=first.next, limit=4)
            assert [trace.id for trace in (*first.traces, *second.traces)] == whole[:8]
            assert second.previous is not None
            assert read_page(store, where, order=order, cursor=second.previous, limit=4).traces == first.traces


def test_marks_and_searches(url: str) -> None:
    with closing(TraceStore(url)) as store:
        add_feedback(store, [FeedbackEvent("r3", "click", 0, tenant="t1")])
        store.write([build_trace(ranking(number)) for number in range(COUNT)])
        add_feedback(store, [FeedbackEvent("r4", "click", 0, tenant="t0")])
        flag_request(store, "r5", None)

        def names(where: TraceFilter) -> list[str]:
            return [trace.request_id for trace in read_page(store, where, order="oldest").traces]

        assert names(TraceFilter(has_feedback=True)) == ["r3", "r4"]
        assert names(TraceFilter(has_case=True)) == ["r5"]
        assert names(TraceFilter(search="NUMBER 7")) == ["r7"]
        assert names(TraceFilter(search="报销", tenant="t0")) == [f"r{number}" for number in range(0, COUNT, 2)]
        assert names(TraceFilter(search="'); DROP TABLE trace; --")) == []


FILTERS = {
    "none": TraceFilter(),
    "time": TraceFilter(since=100.0, until=200.0),
    "tenant": TraceFilter(tenant="t1"),
    "version": TraceFilter(model="mini", version="v1"),
    "variant": TraceFilter(experiment="ab", variant="a"),
    "feedback": TraceFilter(has_feedback=True),
    "case": TraceFilter(has_case=True),
    "search": TraceFilter(search="number"),
}


def test_an_index_answers_each_filter_and_order_on_postgresql(postgres: Postgres) -> None:
    with closing(TraceStore(postgres.fresh("trace_plans"))) as store:
        store.write([build_trace(ranking(number)) for number in range(COUNT)])
        for name, where in FILTERS.items():
            for order in ORDERS:
                query = page_query(where, order, Cursor(1.0, 5), 50)
                statement = str(query.compile(store.engine, compile_kwargs={"literal_binds": True}))
                with store.connect() as connection:
                    # So few rows fit on a page, which is read at once; of many, the index is read alone.
                    for setting in ("enable_seqscan", "enable_bitmapscan"):
                        connection.execute(text(f"SET LOCAL {setting} = off"))
                    plan = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}".replace("%", "%%"))]
                of_traces = [step for step in plan if " on trace " in step]
                assert of_traces, (name, order, plan)
                assert all("Index " in step for step in of_traces), (name, order, plan)


def test_traces_of_the_version_before_are_found(url: str) -> None:
    long = "Old QUESTION " + "x" * 500
    engine = open_engine(url)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        make_tables(connection, "0005")
        for number, (deflated, data) in enumerate(
            ((False, "旧的 查询\ud800".encode("utf-8", "surrogatepass")), (True, zlib.compress(long.encode()))), start=1
        ):
            row = {"id": number, "hash": bytes([number]), "deflated": deflated, "data": data}
            connection.execute(text(PASSAGE), row)
            connection.execute(text(TRACE), {"id": number, "name": f"r{number}"})
        connection.execute(text(FEEDBACK))
    with closing(TraceStore(url)) as store:
        assert [trace.id for trace in read_page(store).traces] == [2, 1]
        assert [trace.id for trace in read_page(store, TraceFilter(search="查询")).traces] == [1]
        assert [trace.id for trace in read_page(store, TraceFilter(search="old question")).traces] == [2]
        assert [trace.id for trace in read_page(store, TraceFilter(has_feedback=True)).traces] == [2]
        with store.begin() as connection:  # an instance of that version may go on writing
            connection.execute(text(TRACE), {"id": 3, "name": "r3"})
        assert [trace.id for trace in read_page(store).traces] == [3, 2, 1]
    engine.dispose()
