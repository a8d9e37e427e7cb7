"""Traces and feedback of real servers, on SQLite and on a real PostgreSQL: killed, without a database, erased."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from rerankd import Document
from rerankd.client import Client
from rerankd.database.connection import open_engine
from rerankd.experiments.store import ExperimentStore
from rerankd.feedback.retention import erase_tenant
from rerankd.feedback.store import read_feedback
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import PairScore, RankingRecord, RerankRequest
from tests.integration.older_database import make_tables
from tests.integration.postgres import Postgres
from tests.integration.serving import Served, metric, serve, until
from tests.program import rerankd

TEXTS = ["Pandas eat bamboo.", "A car has four wheels.", "Bears eat fish."]

WINDOW = 0.5

_names = count()


def rerank(url: str, name: str, query: str = "what eats bamboo?", **options: object) -> httpx.Response:
    body = {"query": query, "documents": TEXTS} | options
    return httpx.post(f"{url}/v1/rerank", json=body, headers={"x-request-id": name}, timeout=30)


def written(served: Served, number: int) -> None:
    until(lambda: metric(served.url, "rerankd_traces_written_total") >= number, f"{number} traces written", 20)


def env(url: str, **more: object) -> dict[str, str]:
    settings = {"traces_url": url, "traces_seconds": WINDOW} | more
    return {f"RERANKD_{name.upper()}": str(value) for name, value in settings.items()}


def ranking(number: int, tenant: str, *texts: str) -> RankingRecord:
    request = RerankRequest(
        f"query {number}", [Document(text) for text in texts], tenant=tenant, request_id=f"r{number}"
    )
    scores = [PairScore(float(position), 5, False) for position in range(len(texts))]
    return RankingRecord(request, scores, "mini", "v1", 512, {}, 0, time.time())


def test_a_ranking_is_traced_and_spoken_of(url: str, tmp_path: Path) -> None:
    made = {name: new_key(name) for name in ("ours", "theirs")}
    write_keys(tmp_path / "keys.json", [key for _, key in made.values()])
    clear = {name: secret for name, (secret, _) in made.items()}
    with serve(env=env(url, api_keys_file=tmp_path / "keys.json")) as served:
        ours, theirs = (Client(served.url, api_key=clear[name]) for name in ("ours", "theirs"))
        documents = [{"text": text, "id": f"d{n}", "metadata": {"score": 9.0 - n}} for n, text in enumerate(TEXTS)]
        result = ours.rank("what eats bamboo?", documents, top_n=2)
        store = TraceStore(url)
        until(lambda: store.list_traces(), "the trace written", 20)
        assert ours.feedback(result.request_id, "click", index=0)
        assert ours.feedback(result.request_id, "grade", document_id="d1", value=2)
        assert not theirs.feedback(result.request_id, "thumb", value=-1)  # another key's request is no request
        job = httpx.post(
            f"{served.url}/v1/jobs",
            json={"query": "of a job", "documents": [{"text": "one", "id": "j1"}, "two"]},
            headers={"authorization": f"Bearer {clear['ours']}"},
        ).json()
        until(lambda: len(store.list_traces()) == 2, "the job's trace written", 20)
        ours.close()
        theirs.close()
    of_job, of_rank = store.load(store.list_traces())
    assert (of_rank.query, of_rank.texts) == ("what eats bamboo?", tuple(TEXTS))
    assert (of_rank.candidates.ids, of_rank.candidates.scores_before.tolist()) == (("d0", "d1", "d2"), [9.0, 8.0, 7.0])
    assert (of_rank.trace.request_id, of_rank.trace.kept, of_rank.trace.top_before) == (result.request_id, 2, 1)
    assert of_rank.trace.tenant == of_job.trace.tenant != ""
    assert of_rank.trace.total_ms > 0
    assert (of_job.trace.source, of_job.trace.request_id) == ("job", f"{job['id']}.0.0")
    assert of_job.candidates.ids == ("j1", None)
    foreign, grade, click = read_feedback(store)
    assert (foreign.trace, foreign.feedback.kind) == (None, "thumb")
    assert (click.trace, grade.trace) == (of_rank.trace, of_rank.trace)
    assert (click.feedback.index, grade.feedback.document_id, grade.feedback.value) == (0, "d1", 2.0)
    store.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_server_loses_no_more_than_the_window(url: str, seed: int) -> None:
    answered: dict[str, float] = {}
    draw = random.Random(seed)
    with serve(env=env(url)) as served:
        stop = threading.Event()

        def ask(client: int) -> None:
            for number in count():
                if stop.is_set():
                    return
                name = f"{client}-{number}"
                with suppress(httpx.TransportError):
                    if rerank(served.url, name, f"query {name}").status_code == 200:
                        answered[name] = time.monotonic()

        threads = [threading.Thread(target=ask, args=(client,)) for client in range(3)]
        for thread in threads:
            thread.start()
        written(served, 1)
        stop.wait(draw.uniform(0.2, 2.0))
        served.process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        served.process.wait(10)
        stop.set()
        for thread in threads:
            thread.join()
    store = TraceStore(url)
    kept = {trace.request_id for trace in store.list_traces(limit=100_000)}
    due = {name for name, at in answered.items() if at < killed - WINDOW}
    assert due
    assert due <= kept, f"{len(due - kept)} of {len(due)} are missing"
    assert all(None not in stored.texts and stored.query for stored in store.iter_traces(TraceFilter()))
    store.write([build_trace(ranking(1, "", "it goes on"))])
    if store.is_sqlite:
        with store.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    store.close()


def test_without_its_database_requests_go_on(postgres: Postgres) -> None:
    url = postgres.fresh(f"own{next(_names)}")
    with serve(env=env(url, traces_queue=5)) as served:
        rerank(served.url, "before")
        written(served, 1)
        postgres.stop(signal.SIGQUIT)
        try:
            for number in range(8):
                assert rerank(served.url, f"during{number}").status_code == 200
            until(lambda: metric(served.url, "rerankd_traces_up") == 0, "the failure said", 20)
            assert metric(served.url, 'rerankd_traces_dropped_total{reason="full"}') == 3
            response = httpx.post(
                f"{served.url}/v1/feedback", json={"request_id": "before", "kind": "click", "index": 0}
            )
            assert (response.status_code, "retry-after" in response.headers) == (503, True)
        finally:
            postgres.start()
        written(served, 6)
        assert metric(served.url, "rerankd_traces_up") == 1
        assert "what eats bamboo" not in served.log
    store = TraceStore(url)
    assert {trace.request_id for trace in store.list_traces()} == {
        "before",
        *(f"during{number}" for number in range(5)),
    }
    store.close()


def test_with_a_full_disk_requests_go_on(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk; it is lifted from outside."""
    url = f"sqlite:///{tmp_path}/traces.sqlite"
    TraceStore(url).close()
    with serve(env=env(url)) as served:
        pid = served.process.pid
        rerank(served.url, "before")
        written(served, 1)
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        size = max(path.stat().st_size for path in tmp_path.iterdir())
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size // 2, before[1]))
        for number in range(3):
            assert rerank(served.url, f"during{number}", f"another {number}").status_code == 200
        until(lambda: metric(served.url, "rerankd_traces_failures_total") >= 1, "the failure counted", 20)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        written(served, 4)
    store = TraceStore(url)
    assert len(store.list_traces()) == 4
    store.close()


def test_two_instances_share_one_database(postgres: Postgres) -> None:
    url = postgres.fresh(f"own{next(_names)}")
    stores = [TraceStore(url), TraceStore(url)]
    failed: list[BaseException] = []

    def work(store: TraceStore, tenant: int) -> None:
        try:
            for number in range(30):
                store.write(
                    [
                        build_trace(ranking(number, str(tenant), f"text {number % 11}", f"text {number}"))
                        for _ in range(5)
                    ]
                )
        except BaseException as error:
            failed.append(error)

    _together([lambda store=store, tenant=tenant: work(store, tenant) for tenant, store in enumerate(stores)])  # type: ignore[misc]
    assert not failed
    traces = stores[0].list_traces(limit=1000)
    assert len({trace.id for trace in traces}) == len(traces) == 300
    for loaded in stores[1].load(traces):
        number = int(loaded.trace.request_id[1:])
        assert loaded.texts == (f"text {number % 11}", f"text {number}")
    for store in stores:
        store.close()


def test_several_processes_make_the_tables_at_once(url: str) -> None:
    program = f"from rerankd.traces.store import TraceStore; TraceStore({url!r}).close()"
    made = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(4)]
    for process in made:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()


def test_no_byte_of_an_erased_tenant_is_in_the_tables_of_postgresql(postgres: Postgres) -> None:
    store = TraceStore(postgres.fresh(f"own{next(_names)}"))
    for number in range(50):
        store.write([build_trace(ranking(number, "mine", f"MYTEXT{number}", "shared"))])
        store.write([build_trace(ranking(number, "yours", f"YOURTEXT{number}", "shared"))])
    assert erase_tenant(store, "mine").traces == 50
    assert all(trace.texts[1] == "shared" for trace in store.iter_traces(TraceFilter(tenant="yours")))
    store.close()
    postgres.stop()  # what is only in memory is written
    try:
        left = b"".join(path.read_bytes() for path in (postgres.folder / "data" / "base").rglob("*") if path.is_file())
    finally:
        postgres.start()
    assert b"MYTEXT" not in left
    assert b"YOURTEXT" in left


def test_traces_of_the_version_before_are_kept(url: str) -> None:
    """They are brought up to date, and an instance of that version may go on writing."""
    engine = open_engine(url)
    row = text(
        "INSERT INTO trace (id, time, query, parameters, documents, kept, top_before, top_score, truncated, cached, "
        "tokens, tokenization_ms, queue_ms, inference_ms, total_ms, tenant, request_id, source, model, version) "
        "VALUES (:id, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, '', 'r', 'http', 'mini', 'v1')"
    )
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        make_tables(connection, "0003")
        connection.execute(row, {"id": 1})
    with closing(ExperimentStore(TraceStore(url))) as store:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            connection.execute(row, {"id": 2})
        traces = sorted((trace.id, trace.experiment, trace.variant) for trace in store.traces.list_traces())
        assert traces == [(1, "", ""), (2, "", "")]
        assert store.active() == []
    engine.dispose()


def test_the_command_line(url: str, tmp_path: Path) -> None:
    store = TraceStore(url)
    store.write([build_trace(ranking(number, "mine", *TEXTS)) for number in range(3)])

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        completed = rerankd(*arguments, "--traces-url", url, folder=tmp_path)
        assert completed.returncode == 0, completed.stderr
        return completed

    rows = [
        json.loads(line) for line in run("traces", "list", "--since", "1h", "--order", "oldest").stdout.splitlines()
    ]
    assert (rows[0]["request_id"], rows[0]["query"]) == ("r0", "query 0")
    (shown,) = (json.loads(line) for line in run("traces", "show", "r1").stdout.splitlines())
    assert [candidate["text"] for candidate in shown["candidates"]] == TEXTS
    assert len(run("traces", "export", "--tenant", "mine").stdout.splitlines()) == 3
    replayed = run("traces", "replay", "mini", "--limit", "2")
    assert len(replayed.stdout.splitlines()) == 2
    (tmp_path / "feedback.csv").write_text("request_id,kind,index\nr1,click,2\nr9,click,0\n")
    assert "2 items imported; 1 of them" in run("feedback", "import", "feedback.csv", "--tenant", "mine").stderr
    assert len(run("feedback", "list").stdout.splitlines()) == 2
    assert "0 traces" in run("traces", "prune").stderr
    assert "3 traces, 7 texts, 2 items" in run("traces", "erase", "--tenant", "mine", "--yes").stderr
    store.close()


def _together(tasks: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
