from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from rerankd.traces.store import TraceStore
from rerankd.traces.trace import PendingTrace
from rerankd.traces.writer import TraceWriter, WriterOptions
from tests.unit.traces.rankings import ranking

HOUR = WriterOptions(max_delay=7200)


class Shelf:
    """A store in memory that can be away, and refuse."""

    def __init__(self) -> None:
        self.away = False
        self.refuses = ""
        self.kept: list[str] = []
        self.tried = threading.Semaphore(0)

    def write(self, drafts: Sequence[PendingTrace]) -> None:
        names = [one.row["request_id"] for one in drafts]
        self.tried.release()
        if self.away:
            raise OperationalError("INSERT secret text", {}, Exception("disk is full"))
        if self.refuses in names:
            raise IntegrityError("INSERT secret text", {}, Exception("no"))
        self.kept += names

    def close(self) -> None:
        pass


def open_writer(shelf: Shelf, options: WriterOptions = HOUR, **named: Any) -> TraceWriter:
    return TraceWriter(cast(Callable[[], TraceStore], lambda: shelf), options, **named)


def test_writes_within_the_window() -> None:
    shelf = Shelf()
    writer = open_writer(shelf, WriterOptions(max_delay=0.1))
    started = time.monotonic()
    writer.record(ranking(request_id="a"))
    assert shelf.tried.acquire(timeout=5)
    assert time.monotonic() - started < 1
    writer.close()
    assert (shelf.kept, writer.counts.written, writer.queued, writer.queued_bytes) == (["a"], 1, 0, 0)


def test_closing_writes_what_waits_in_its_order() -> None:
    shelf = Shelf()
    writer = open_writer(shelf)
    for number in range(1203):
        writer.record(ranking(request_id=str(number)))
    writer.close()
    assert shelf.kept == [str(number) for number in range(1203)]
    writer.record(ranking())
    assert writer.counts.dropped == {"closed": 1}


def test_a_full_queue_drops_and_counts() -> None:
    shelf = Shelf()
    shelf.away = True
    writer = open_writer(shelf, WriterOptions(max_delay=7200, max_queued=3))
    for number in range(5):
        writer.record(ranking(request_id=str(number)))
    assert (writer.queued, writer.counts.dropped["full"]) == (3, 2)
    shelf.away = False
    writer.close()
    assert shelf.kept == ["0", "1", "2"]


def test_bytes_are_bounded() -> None:
    writer = open_writer(Shelf(), WriterOptions(max_delay=7200, max_queued_bytes=10_000))
    for _ in range(3):
        writer.record(ranking(documents=["x" * 4000]))
    assert (writer.queued, writer.counts.dropped["full"]) == (2, 1)
    assert 8000 < writer.queued_bytes <= 10_000
    writer.close()


def test_recovers_by_itself_and_tells_no_text(caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf()
    shelf.away = True
    writer = open_writer(shelf, WriterOptions(max_delay=0.02))
    with caplog.at_level(logging.INFO, "rerankd"):
        writer.record(ranking("secret text", request_id="a"))
        for _ in range(2):
            assert shelf.tried.acquire(timeout=5)
        assert not writer.counts.is_up
        shelf.away = False
        assert writer.flush(10)
    assert (shelf.kept, writer.counts.is_up) == (["a"], True)
    assert writer.counts.failures >= 2
    messages = [record.getMessage() for record in caplog.records]
    assert sum("cannot be written: OperationalError: disk is full" in message for message in messages) == 1
    assert messages[-1] == "traces are written again"
    assert "secret" not in caplog.text
    writer.close()


def test_what_is_refused_costs_the_others_nothing() -> None:
    shelf = Shelf()
    shelf.refuses = "bad"
    writer = open_writer(shelf)
    for name in ("a", "bad", "b"):
        writer.record(ranking(request_id=name))
    writer.close()
    assert (shelf.kept, writer.counts.written, writer.counts.dropped) == (["a", "b"], 2, {"invalid": 1})


def test_a_database_that_stays_away_costs_a_bounded_end() -> None:
    shelf = Shelf()
    shelf.away = True
    writer = open_writer(shelf)
    writer.record(ranking())
    started = time.monotonic()
    writer.close(0.5)
    assert time.monotonic() - started < 5
    assert writer.counts.dropped == {"closed": 1}


def test_nothing_is_kept_that_could_not_be_redacted() -> None:
    shelf = Shelf()

    def redact(text: str) -> str:
        if "bad" in text:
            raise ValueError(text)
        return text.upper()

    writer = open_writer(shelf, redact=redact)
    writer.record(ranking("bad", request_id="a"))
    writer.record(ranking("good", request_id="b"))
    writer.close()
    assert (shelf.kept, writer.counts.dropped) == (["b"], {"redaction": 1})


def test_samples_by_tenant() -> None:
    shelf = Shelf()
    writer = open_writer(shelf, WriterOptions(max_delay=7200, sampling_rates={"half": 0.5, "*": 0.0, "all": 1.0}))
    for number in range(400):
        for tenant in ("half", "all", "none"):
            writer.record(ranking(request_id=f"{tenant}{number}", tenant=tenant))
    writer.close()
    kept = [name.rstrip("0123456789") for name in shelf.kept]
    assert kept.count("all") == 400
    assert 140 < kept.count("half") < 260
    assert kept.count("none") == 0
    assert writer.counts.sampled_out == 1200 - len(kept)


def test_looks_after_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rerankd.traces.writer.MAINTENANCE_SECONDS", 0.02)
    seen = threading.Semaphore(0)

    def maintain(_: TraceStore) -> bool:
        seen.release()
        raise OSError("later")

    writer = open_writer(Shelf(), maintain=maintain)
    writer.start()
    for _ in range(3):
        assert seen.acquire(timeout=5)
    writer.close()
    assert writer.counts.failures >= 3


def test_texts_are_redacted_in_the_thread_of_the_writer() -> None:
    threads: list[str] = []

    def redact(text: str) -> str:
        threads.append(threading.current_thread().name)
        return text

    writer = open_writer(Shelf(), redact=redact)
    writer.record(ranking(request_id="a"))
    writer.close()
    assert set(threads) == {"traces"}
