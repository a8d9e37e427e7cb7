from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import console, improve, metrics, soak, tables, workload
from benchmarks.bodies import FixedBodies, RandomBodies
from benchmarks.console_pages import PAGES, Addresses
from benchmarks.console_store import Seeded
from benchmarks.jobs import batching, faults, memory, small_jobs
from benchmarks.jobs.__main__ import bars
from benchmarks.jobs.worker import WorkerUsage
from benchmarks.load import Attempt, ClosedLoop, Generator, OpenLoop, pairs_per_second
from benchmarks.model import SHAPES, executed_flops
from benchmarks.tables import markdown
from benchmarks.timings import AlternatingTimings, median_ratio, percentile
from benchmarks.wire import Response, Target, parse_response
from tests.conftest import shared


def test_workload_is_seeded_and_mixed() -> None:
    shared("bench", "workload.py")
    (made, texts), (again, _) = workload.requests(2, 50), workload.requests(2, 50)
    assert made == again
    assert texts == "passages of four data packs"
    documents = [document for _, passages in made for document in passages]
    assert len(documents) == 100
    han = sum(any("一" <= char <= "鿿" for char in document) for document in documents)
    assert 20 < han < 80


def test_workload_without_shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(workload, "SHARED", tmp_path / "gone")
    made, texts = workload.requests(1, 10)
    assert len(made[0][1]) == 10
    assert "bundled" in texts


def test_flops_of_a_known_shape() -> None:
    hidden, inner, layers = 384, 1536, 6
    dense = 2 * 100 * (4 * hidden * hidden + 2 * hidden * inner) + 4 * 100 * 100 * hidden
    flops = executed_flops("mini", [100])
    assert SHAPES["mini"]["num_hidden_layers"] == layers
    assert 5 * dense < flops < 6 * dense


def test_fill() -> None:
    text = "a\n<!-- x -->\nold\n<!-- /x -->\nb"
    assert tables.fill(text, "x", "new\nlines") == "a\n<!-- x -->\nnew\nlines\n<!-- /x -->\nb"
    with pytest.raises(ValueError, match="no markers for 'y'"):
        tables.fill(text, "y", "")


def shot(done: float, *, due: float = 0.0, status: int = 200, pairs: int = 10, **rest: Any) -> Attempt:
    return Attempt(
        rest.get("serial", 0), rest.get("attempt", 1), pairs, due, due, done, status, rest.get("retry_after")
    )


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (0.991, 100), (1.0, 100)])
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    assert percentile(range(100, 0, -1), share) == expected


def test_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="of nothing"):
        percentile([], 0.5)


def test_ratio_is_taken_turn_by_turn() -> None:
    # A machine that is three times slower in the second turn changes nothing.
    assert median_ratio([1.0, 3.0, 1.0], [0.5, 1.5, 0.5]) == 2.0
    with pytest.raises(ValueError, match="argument 2"):
        median_ratio([1.0], [])


def test_rate_counts_what_was_answered_in_time() -> None:
    shots = [shot(0.5), shot(1.5), shot(1.9, status=429), shot(2.0)]
    assert pairs_per_second(shots, 1.0, 2.0) == 10
    assert pairs_per_second(shots, 0.0, 4.0) == 7.5


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1/rerank", "http://localhost:8000/v1/rerank"])
def test_load_goes_to_this_machine(url: str) -> None:
    assert Target.parse(url) == Target("127.0.0.1", 8000, "/v1/rerank")
    assert Target.parse("http://[::1]:80").host == "::1"


@pytest.mark.parametrize(
    "url",
    ["http://example.com/", "http://10.0.0.1:80/", "https://127.0.0.1/", "http://0.0.0.0/", "http://127.0.0.1.x.org/"],
)
def test_load_goes_nowhere_else(url: str) -> None:
    with pytest.raises(ValueError, match="not on this machine"):
        Target.parse(url)


def test_answer_with_a_length() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-request-id: a\r\n\r\nhello"
    assert parse_response(data) == Response(200, None, len(data), close=False)
    for cut in range(len(data)):
        assert parse_response(data[:cut]) is None


def test_answer_in_chunks() -> None:
    head = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 12\r\nretry-after-ms: 11500\r\nConnection: close\r\n"
    data = head + b"transfer-encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n2;x=1\r\nab\r\n0\r\n\r\n"
    assert parse_response(data) == Response(429, 12, len(data), close=True)
    for cut in range(len(data)):
        assert parse_response(data[:cut]) is None


@pytest.mark.parametrize("data", [b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0\r\ncontent-length: 1\r\n\r\nx", b"x" * 70_000])
def test_answer_that_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"(whose end is known|does not end)"):
        parse_response(data)


def test_bodies_by_number() -> None:
    bodies = RandomBodies.of("熊猫", ["one", 'tw"o', "三"], 2, 5, seed=3)
    made = [json.loads(bodies.body(serial)) for serial in range(50)]
    assert len({one["query"] for one in made}) == 50
    assert [len(one["documents"]) for one in made] == [bodies.pairs(serial) for serial in range(50)]
    assert {len(one["documents"]) for one in made} == {2, 3, 4, 5}
    assert bodies.body(7) == bodies.body(7) != RandomBodies.of("熊猫", ["one"], 2, 5, seed=4).body(7)
    listed = FixedBodies([("q", ["a", "b"]), ("r", ["c"])])
    assert json.loads(listed.body(3)) == {"model": "mini", "query": "r", "documents": ["c"], "return_documents": False}


@pytest.mark.slow
async def test_generator_against_a_server() -> None:
    """Every second new body is refused for no time at all, and comes again."""
    seen: dict[str, int] = {}
    serving: set[asyncio.Task[Any] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        while head := await reader.read(65536):
            query = json.loads(head.partition(b"\r\n\r\n")[2])["query"]
            seen[query] = seen.get(query, 0) + 1
            refused = len(seen) % 2 == 0 and seen[query] == 1
            answer = b"429 No\r\nretry-after: 0" if refused else b"200 OK"
            writer.write(b"HTTP/1.1 " + answer + b"\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        target = Target("127.0.0.1", server.sockets[0].getsockname()[1], "/")
        closed = ClosedLoop(RandomBodies.of("closed", ["a"], 1, 1), clients=2, requests=6)
        (shots,) = await Generator(target).run([closed])
        assert sorted(one.serial for one in shots) == list(range(6))
        arrivals = OpenLoop(RandomBodies.of("open", ["a"], 1, 1), rate=200, seconds=0.3, tail=1)
        behind = ClosedLoop(RandomBodies.of("behind", ["a"], 1, 1), clients=1, pause=0.01, background=True)
        shots, beside = await Generator(target).run([arrivals, behind])
        await asyncio.gather(*(task for task in serving if task), return_exceptions=True)
    first = [one for one in shots if one.attempt == 1]
    again = [one for one in shots if one.attempt == 2]
    assert 20 < len(first) < 150
    assert len(again) == sum(one.status == 429 for one in first) > 0
    assert {one.status for one in again} == {200}
    assert all(one.sent >= one.due for one in shots)
    assert beside


async def test_generator_says_when_nobody_answers() -> None:
    (shots,) = await Generator(Target("127.0.0.1", 9, "/")).run(
        [ClosedLoop(FixedBodies([("q", ["a"])]), 1, requests=1)]
    )
    assert [one.status for one in shots] == [0]


def overload() -> tuple[list[Attempt], OpenLoop]:
    served = [shot(n / 10 + 0.2, due=n / 10) for n in range(10)]
    refused = [shot(n / 10 + 0.01, due=n / 10, status=429, retry_after=2, serial=n) for n in range(90)]
    again = [shot(n / 10 + 3.0, due=n / 10 + 2.01, attempt=2, serial=n) for n in range(20)]
    return [*served, *refused, *again], OpenLoop(RandomBodies.of("q", ["a"], 1, 1), rate=10, seconds=10)


def test_summary_of_an_overload() -> None:
    summary = soak.summary(*overload(), capacity=10.0)
    assert summary["first"] == {"200": 10, "429": 90}
    assert summary["retries"] == {"made": 20, "due_later": 70, "statuses": {"200": 20}, "answered": 1.0}
    assert summary["accepted_seconds"]["p99"] == 0.99
    assert summary["offered_requests_per_second"] == 10.0
    assert summary["retry_after_seconds"]["max"] == 2.0


def test_recovery_is_the_first_full_second() -> None:
    shots = [shot(10.0 + n / 10, pairs=10 if n >= 10 else 1) for n in range(60)]
    recovered = soak.recovery(shots, 10.0, 6.0, capacity=100.0)
    assert recovered["seconds_to_full_speed"] == 1.0
    assert recovered["windows"][:2] == [0.1, 1.0]
    assert recovered["after"] == 1.0
    assert soak.recovery([], 0.0, 6.0, 1.0)["seconds_to_full_speed"] is None


def test_missed_bars_are_named() -> None:
    memory = {"start": 100.0, "first_half": 100.0, "second_half": 101.0, "peak": 101.0, "after": 101.0}
    recovered = {"seconds_to_full_speed": 0.5, "after": 1.0}
    report = {
        "overload": soak.summary(*overload(), capacity=11.0),
        "memory_megabytes": memory,
        "recovery": recovered,
        "times": 10.0,
        "capacity": {"refused": 0},
    }
    assert soak.missed(report, 5.0) == []
    late = report | {"memory_megabytes": memory | {"second_half": 200.0}, "recovery": recovered | {"after": 0.5}}
    messages = soak.missed(late, 0.5)
    assert [sentence.split()[0] for sentence in messages] == ["99", "memory", "after"]


def test_metrics_are_summed() -> None:
    text = '# HELP a b\na_total{model="x",reason="y z"} 2.0\na_total{model="w"} 1.5\nb 1e-05\n'
    assert metrics.read_metrics(text) == {"a_total": 3.5, "b": 1e-05}


def test_server_table_without_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(markdown, "RESULTS", tmp_path)
    assert tables.server() == ""
    (tmp_path / "cpu.json").write_text("{}")
    assert tables.server() == ""


def test_small_requests_differ_and_have_one_length() -> None:
    one, other = small_jobs.requests(3, 4, 100, 7, mark="a"), small_jobs.requests(3, 4, 100, 7, mark="b")
    texts = [text for made in (one, other) for _, documents in made for text in documents]
    assert len(set(texts)) == 24
    assert [len(text) for text in texts[:12]] == [len(text) for text in texts[12:]]
    assert small_jobs.requests(3, 4, 100, 7, mark="a") == one


def test_batching_is_many_to_one() -> None:
    used = {"one": [WorkerUsage(2.0, 256, 2560, 0, 16)] * 2, "many": [WorkerUsage(2.5, 256, 2560, 10, 32)] * 2}
    summary = batching.summary({"one": [1.0, 2.0], "many": [1.2, 2.2]}, used)
    assert (summary["ratio"], summary["processor_time_ratio"], summary["tokens_per_pair"]) == (1.15, 1.25, 10.0)
    assert (summary["one"]["pairs_per_batch"], summary["many"]["batches"]) == (16.0, 32)


def test_turns_count_cores() -> None:
    turns = AlternatingTimings()
    turns.note("one", 10.0, 9.0)
    turns.note("two", 5.0, 10.0)
    assert turns.ratios("one", "two", 2.0) == {
        "ratio": 2.0,
        "ratios": [2.0],
        "processor_time_ratio": 1.8,
        "processor_time_ratios": [1.8],
    }


def test_output_of_a_fault_run_is_compared(tmp_path: Path) -> None:
    rows = [{"id": str(n), "raw_score": n / 10} for n in range(3)]
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("".join(json.dumps(row) + "\n" for row in rows))
    bad.write_text("".join(json.dumps(row) + "\n" for row in [rows[0], rows[0], {"id": "2", "error": {}}]))
    assert faults.compare(good, good, 3) == {"scored": 3, "missing": 0, "twice": 0, "identical": True}
    assert faults.compare(good, bad, 3) == {"scored": 1, "missing": 2, "twice": 1, "identical": False}


def test_memory_that_grows_is_not_flat() -> None:
    flat, grown = [50.0, *[100.0] * 8], [100.0, *[100.0] * 4, *[150.0] * 4]
    assert memory.flatness([flat, [80.0]])["flat"]
    assert not memory.flatness([flat, grown])["flat"]


def test_bars_of_jobs() -> None:
    assert bars({"throughput": {"held": False}, "interactive": {}}) == {"throughput": False}


def test_the_loops_pack_is_divided_by_answer(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    qrels = ["query\tdocument\tgrade"] + [f"q{n}\td{n}\t1" for n in range(60)] + ["q0\td99\t0"]
    (pack / "qrels.tsv").write_text("\n".join(qrels) + "\n", encoding="utf-8")
    run = [
        f"q{n} Q0 d{(n + position) % 60} {position} {9 - position} x" for n in range(60) for position in range(n % 2, 5)
    ]
    with gzip.open(pack / "candidates.trec.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(run) + "\n")  # odd queries: the answer is not found
    assert improve.share_found(pack, 5) == 0.5
    sides = {}
    for shuffled in (False, True):
        folders = improve.split_pack(pack, tmp_path / str(shuffled), (40, 40), 5, shuffled)
        sides[shuffled] = [
            dict(line.split("\t")[:2] for line in (folder / "qrels" / f"{name}.tsv").read_text().splitlines()[1:])
            for folder, name in zip(folders, ("train", "test"), strict=True)
        ]
    (train, test), (wrong, same) = sides[False], sides[True]
    assert test == same
    assert len(train) + len(test) == 30
    assert set(train.values()).isdisjoint(test.values())
    assert train.keys() == wrong.keys()
    assert all(train[query] != wrong[query] for query in train)


def test_the_console_benchmark_names_what_misses_its_bars() -> None:
    fast, slow = {"p50": 10.0, "p95": 199.9}, {"p50": 10.0, "p95": 200.0}
    result = {
        "sqlite": {"pages": {"traces": fast, "trace": slow}},
        "scoring": {"throughput_with_users_to_without": 0.96},
    }
    assert len(console.missed(result)) == 2
    assert console.missed({"postgresql": {"pages": {"traces": fast}}}) == []


def test_addresses_of_the_console_benchmark_are_filled_in() -> None:
    addresses = Addresses(Seeded(10, 1_800_000_000.0))
    filled = [addresses.fill(page.address) for page in PAGES]
    assert all(path.startswith("/console/") for path in filled)
    assert not any("{" in path for path in filled)
    assert len({page.name for page in PAGES}) == len(PAGES)
