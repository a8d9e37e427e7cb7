from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from rerankd.database import tables
from rerankd.database.connection import open_engine
from rerankd.errors import InvalidRequestError
from rerankd.traces.passages import PassageStore
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Document, RankingRecord
from tests.unit.traces.rankings import ranking


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "traces.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[TraceStore]:
    made = TraceStore(f"sqlite:///{path}")
    yield made
    made.close()


def write(store: TraceStore, *rankings: RankingRecord) -> None:
    store.write([build_trace(one) for one in rankings])


def test_a_trace_comes_back_whole(store: TraceStore) -> None:
    documents = [Document("a car", "c1", {"score": 9.5}), Document("熊猫吃竹子", "p1"), Document("a" * 5000)]
    write(store, ranking(documents=documents, scores=[-1.0, 3.0, 0.5]))
    stored = store.find_trace("r1")
    assert stored is not None
    trace, candidates = stored.trace, stored.candidates
    assert (stored.query, stored.texts) == ("what eats bamboo?", ("a car", "熊猫吃竹子", "a" * 5000))
    assert stored.parameters == {"activation": "sigmoid", "max_length": 512, "top_n": 2}
    assert (candidates.ranks.tolist(), candidates.ids) == ([3, 1, 2], ("c1", "p1", None))
    assert candidates.raw_scores.tolist() == [-1.0, 3.0, 0.5]
    assert candidates.final_scores[1] == pytest.approx(0.952574, abs=1e-6)
    assert candidates.scores_before[0] == 9.5
    assert (trace.top_before, trace.top_score, trace.margin, trace.documents, trace.kept) == (2, 3.0, 2.5, 3, 2)
    assert trace.tau == pytest.approx(-1 / 3)
    assert (trace.tenant, trace.source, trace.model, trace.version, trace.total_ms) == (
        "search",
        "http",
        "mini",
        "v1",
        6,
    )


def test_a_text_is_stored_once(store: TraceStore) -> None:
    same = [ranking(request_id=f"r{number}") for number in range(10)]
    write(store, *same)
    write(store, *same)
    with store.connect() as connection:
        assert len(connection.execute(select(tables.passage.c.id)).all()) == 5  # query, parameters, three documents
    assert len(store.list_traces()) == 20


def test_two_stores_of_one_file_share_texts_and_numbers(store: TraceStore, path: Path) -> None:
    other = TraceStore(f"sqlite:///{path}")

    def work(one: TraceStore) -> None:
        for _ in range(20):
            write(one, ranking(), ranking("other?"))

    writers = [threading.Thread(target=work, args=(one,)) for one in (store, other)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    traces = store.list_traces(limit=1000)
    assert len({trace.id for trace in traces}) == len(traces) == 80
    assert all(loaded.texts == ("a car", "a panda", "a bear") for loaded in store.load(traces))
    other.close()


def test_lists_by_filter_and_order(store: TraceStore) -> None:
    write(
        store,
        ranking(request_id="a", at=100.0, scores=[0, 1, 5]),
        ranking(request_id="b", at=200.0, scores=[0, 1, 1.5], tenant="other"),
        ranking(request_id="c", at=300.0, scores=[0, 1, 3]),
        ranking(request_id="d", at=400.0, documents=["alone"]),
    )

    def ids(wanted: TraceFilter | None = None, **options: object) -> str:
        return "".join(trace.request_id for trace in store.list_traces(wanted, **options))  # type: ignore[arg-type]

    assert (ids(), ids(order="oldest"), ids(order="margin"), ids(limit=1)) == ("dcba", "abcd", "bca", "d")
    assert ids(TraceFilter(tenant="other")) == "b"
    assert ids(TraceFilter(since=200.0, until=400.0)) == "cb"
    assert ids(TraceFilter(tenant="search", since=50.0), order="margin") == "ca"
    assert ids(TraceFilter(request_id="c", model="mini")) == "c"
    assert ids(TraceFilter(model="none")) == ""
    assert [loaded.trace.request_id for loaded in store.iter_traces(TraceFilter(until=350.0), batch_size=2)] == [
        "a",
        "b",
        "c",
    ]
    assert store.find_trace("#2") is not None
    assert store.find_trace("9" * 19 + "a") is store.find_trace("1" * 30) is None
    assert store.find_trace("nothing") is store.find_trace("99") is None


def test_odd_texts(store: TraceStore) -> None:
    odd = ["", "\ud800 lone", "\0zero", "汉" * 3000]
    write(store, ranking(query="\udfff?", documents=odd, request_id="odd\0"))
    trace = store.find_trace("odd")
    assert trace is not None
    assert (trace.query, list(trace.texts)) == ("\udfff?", odd)


def test_migrating_again_changes_nothing(store: TraceStore, path: Path) -> None:
    write(store, ranking())
    TraceStore(f"sqlite:///{path}").close()
    assert len(store.list_traces()) == 1
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE trace_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(InvalidRequestError, match="later version"):
        TraceStore(f"sqlite:///{path}")


def test_few_texts_are_remembered(store: TraceStore) -> None:
    store._passages = PassageStore(cache=4)
    for number in range(20):
        write(store, ranking(documents=[f"text {number % 7}", f"text {number % 5}"]))
    assert all(None not in trace.texts for trace in store.load(store.list_traces()))
    assert len(store._passages._cache) <= 4 + 4


def test_another_process_leaves_the_log_that_is_being_read(store: TraceStore, path: Path) -> None:
    """Two stores of one process, as the writer's and that of experiments; locks are by process."""
    write(store, ranking("r1"))
    with open_engine(f"sqlite:///{path}").connect():
        pass
    other = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA user_version = 1'); c.close()"
    subprocess.run([sys.executable, "-c", other, str(path)], check=True)
    assert Path(f"{path}-wal").exists()  # the last one that closes a database takes its log away
    write(store, ranking("r2"))
    assert len(store.list_traces()) == 2


def test_a_trace_is_found_by_its_number_unless_it_is_another_tenants(store: TraceStore) -> None:
    write(store, ranking(request_id="2", tenant="mine"), ranking(request_id="1", tenant="yours"))
    first = store.get_trace(1)
    assert first is not None
    assert first.trace.request_id == "2"
    assert store.get_trace(1, "mine") is not None
    assert store.get_trace(1, "yours") is None
    assert store.get_trace(3) is None
