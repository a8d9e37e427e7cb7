"""Bulk work by real workers on a real Redis: the same bytes as in process, whatever ends meanwhile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.queueing import Broker, broker, worker
from tests.integration.serving import until
from tests.processes import Process, start_program

ROWS = 450


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker(tmp_path_factory.mktemp("redis")) as made:
        yield made


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    with path.open("w") as file:
        for n in range(ROWS):
            json.dump({"id": n, "query": f"问题 {n % 7}", "document": f"answer number {n % 300} 答案"}, file)
            file.write("\n")
    return path


@pytest.fixture(scope="module")
def expected(rows: Path) -> bytes:
    """Return the output of a run in one process."""
    out = rows.with_name("expected.jsonl")
    assert run(rows, out).wait(120) == 0
    return out.read_bytes()


def run(rows: Path, out: Path, *flags: str) -> Process:
    arguments = ["-m", "rerankd", "bulk", str(rows), "--out", str(out), "--chunk-pairs", "30", *flags]
    with out.with_suffix(".log").open("wb") as log:
        return start_program(arguments, out.parent, os.environ, log)


def test_the_same_bytes_as_in_process(queue: Broker, rows: Path, expected: bytes, tmp_path: Path) -> None:
    with worker(queue.url), worker(queue.url):
        assert run(rows, tmp_path / "out.jsonl", "--workers", queue.url).wait(120) == 0
    assert (tmp_path / "out.jsonl").read_bytes() == expected
    with redis.Redis.from_url(queue.url) as look:
        assert list(look.scan_iter("*:job:*")) == []  # nothing is left behind


def test_workers_that_are_killed_and_a_redis_that_ends_cost_no_row(
    queue: Broker, rows: Path, expected: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    part = out.with_name(out.name + ".part")

    def written() -> int:
        return part.read_bytes().count(b"\n") if part.exists() else ROWS if out.exists() else 0

    lease = ("--lease-seconds", "1")
    with worker(queue.url, *lease) as first, worker(queue.url, *lease) as second:
        bulk = run(rows, out, "--workers", queue.url)
        until(lambda: written() >= 60, "begun")
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        until(lambda: written() >= 200, "gone on")
        queue.stop(signal.SIGKILL)
        queue.start()
        with worker(queue.url, *lease):
            second.process.send_signal(signal.SIGKILL)
            second.process.wait()
            assert bulk.wait(120) == 0, out.with_suffix(".log").read_text()
    assert out.read_bytes() == expected


def test_a_run_that_is_killed_goes_on(queue: Broker, rows: Path, expected: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    journal = out.with_name(out.name + ".journal")
    with worker(queue.url):
        bulk = run(rows, out, "--workers", queue.url)
        until(lambda: journal.exists() or bulk.poll() is not None, "begun")
        bulk.kill()
        bulk.wait()
        assert run(rows, out, "--workers", queue.url).wait(120) == 0
    assert out.read_bytes() == expected


def test_without_workers_or_redis_there_is_a_sentence(queue: Broker, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert run(rows, out, "--workers", "redis://127.0.0.1:9/0").wait(60) == 8
    assert "cannot be reached" in out.with_suffix(".log").read_text()
    with worker(queue.url):
        assert run(rows, out, "--workers", queue.url, "--model", "other").wait(60) == 3
    assert "no model 'other'" in out.with_suffix(".log").read_text()
