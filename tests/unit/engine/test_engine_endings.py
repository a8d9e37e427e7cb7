"""Requests that are cancelled, late or refused, and engines that are closed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from rerankd.engine.engine import Engine, EngineOptions
from rerankd.errors import (
    DeadlineExceededError,
    OverloadedError,
    RequestCancelledError,
    UnavailableError,
)
from tests.faults import ScriptedBackend
from tests.unit.engine.scripted import (
    SECONDS,
    Heard,
    error_of,
    eventually,
    raw,
    request,
    submitted,
    until,
)


def test_cancelled_work_is_dropped_and_counted(
    make: Callable[..., Engine], backend: ScriptedBackend, heard: Heard
) -> None:
    engine = make()
    backend.gate.clear()
    engine.submit(request("block", "x"))
    until(backend, 1)
    job = engine.submit(request("q", *(f"d {n}" for n in range(50))))
    heard.until_encoded(2)
    engine.cancel(job)
    backend.gate.set()
    assert isinstance(error_of(job.future), RequestCancelledError)
    assert engine.close(SECONDS)
    assert sum(event[1] for event in heard.events if event[0] == "dropped") == 50
    assert sum(event[1] for event in heard.events if event[0] == "batch") == 1


def test_a_deadline_drops_what_was_not_computed(
    make: Callable[..., Engine], backend: ScriptedBackend, heard: Heard
) -> None:
    now = [100.0]
    engine = make(clock=lambda: now[0])
    backend.gate.clear()
    engine.submit(request("running", "x"))
    until(backend, 1)
    engine.submit(request("prepared", "x"))
    eventually(lambda: engine._steps.prefetched is not None)
    late = engine.submit(request("q", "a", "b", deadline=101.0))
    heard.until_encoded(3)
    now[0] = 102.0
    backend.gate.set()
    assert isinstance(error_of(late.future), DeadlineExceededError)
    assert ("dropped", 2, "deadline") in heard.events
    assert engine.close(SECONDS)
    assert sum(map(len, backend.calls)) == 2


def test_a_prepared_pair_that_nobody_wants_is_not_computed(
    make: Callable[..., Engine], backend: ScriptedBackend, heard: Heard
) -> None:
    engine = make()
    backend.gate.clear()
    engine.submit(request("running", "x"))
    until(backend, 1)
    cancelled = engine.submit(request("prepared", "x"))
    eventually(lambda: engine._steps.prefetched is not None)
    engine.cancel(cancelled)
    backend.gate.set()
    assert engine.close(SECONDS)
    assert sum(map(len, backend.calls)) == 1
    assert ("dropped", 1, "cancelled") in heard.events


def test_refusal_is_whole_and_before_any_work(
    make: Callable[..., Engine], backend: ScriptedBackend, heard: Heard
) -> None:
    engine = make(options=EngineOptions(max_queue_seconds=1.0))
    engine.admission.rate.observe(200, 100.0)
    backend.gate.clear()
    engine.submit(request("block", "x"))
    until(backend, 1)
    with pytest.raises(OverloadedError) as refused:
        submitted(engine, 100, "some words here", "and more words there")
    assert refused.value.retry_after > 0
    assert ("refused", "overloaded") in heard.events
    backend.gate.set()
    assert engine.close(SECONDS)
    assert engine.queued_tokens == 0


def test_close_finishes_what_was_accepted(make: Callable[..., Engine], backend: ScriptedBackend) -> None:
    engine = make()
    backend.gate.clear()
    job = engine.submit(request("q", "a", "b"))
    until(backend, 1)
    closing: list[bool] = []
    thread = threading.Thread(target=lambda: closing.append(engine.close(SECONDS)))
    thread.start()
    eventually(lambda: engine._draining)
    with pytest.raises(UnavailableError):
        engine.submit(request("late", "a"))
    backend.gate.set()
    thread.join(SECONDS)
    assert closing == [True]
    assert len(raw(job.future.result(0))) == 2


def test_close_fails_what_does_not_finish(make: Callable[..., Engine], backend: ScriptedBackend) -> None:
    engine = make()
    backend.gate.clear()
    job = engine.submit(request("q", "a"))
    until(backend, 1)
    assert engine.close(0.01) is False
    assert isinstance(error_of(job.future), UnavailableError)


def test_jobs_cancelled_while_they_are_encoded_leave_nothing(
    make: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make()
    encode, entered, go_on = engine.scorer.encoder.encode, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        entered.set()
        assert go_on.wait(SECONDS)
        return encode(*arguments)

    monkeypatch.setattr(engine.scorer.encoder, "encode", slow)
    jobs = [engine.submit(request("q", "same", "text")) for _ in range(20)]
    assert entered.wait(SECONDS)
    for job in jobs:
        engine.cancel(job)
    go_on.set()
    assert engine.submit(request("other", "d")).future.result(SECONDS)
    assert engine.close(SECONDS)
    assert engine._in_flight.scheduler._requests == {}
    assert engine.queued_tokens == 0


def test_what_must_not_be_cut_is_refused_before_it_is_computed(
    make: Callable[..., Engine], backend: ScriptedBackend
) -> None:
    engine = make()
    error = error_of(engine.submit(request("q", "short", "long " * 200, allow_truncation=False)).future)
    assert "Document 1 with the query is longer than 64 tokens" in str(error)
    assert backend.calls == []
