"""One admission decision for several requests, and what priorities change in admission."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from rerankd.engine.engine import Engine, EngineOptions
from rerankd.engine.request import EngineRequest
from rerankd.errors import DeadlineExceededError, OverloadedError, UnavailableError
from tests.faults import ScriptedBackend
from tests.unit.engine.scripted import SECONDS, Heard, raw, request, until

WORDS = [f"document number {n} with some more words in it" for n in range(50)]


def slow(make: Callable[..., Engine], backend: ScriptedBackend, seconds: float = 2.0) -> Engine:
    """Return an engine whose backend waits, and that has measured a thousand tokens in a second."""
    engine = make(options=EngineOptions(max_queue_seconds=seconds))
    engine.admission.rate.observe(1000, 1000.0)
    engine.admission.rate.tokens_per_second = 1000.0
    backend.gate.clear()
    return engine


def fill(engine: Engine, priority: int) -> list[EngineRequest]:
    """Submit requests until one is refused."""
    accepted = list[EngineRequest]()
    while len(accepted) < 200:
        try:
            accepted.append(engine.submit(request(f"{priority} {len(accepted)}", *WORDS[:5], priority=priority)))
        except OverloadedError:
            return accepted
    raise AssertionError("nothing was refused")


def test_requests_that_are_admitted_together_are_not_refused_one_by_one(
    make: Callable[..., Engine], backend: ScriptedBackend
) -> None:
    engine = slow(make, backend)
    requests = [request(f"q{n}", *WORDS[:5]) for n in range(8)]
    admission = engine.admit(requests)
    assert engine.queued_tokens == admission.tokens > 0
    fill(engine, 0)
    with pytest.raises(OverloadedError):
        engine.admit(requests)
    queued = [engine.submit(one, admission=admission) for one in requests]
    backend.gate.set()
    assert all(len(raw(one.future.result(SECONDS))) == 5 for one in queued)
    engine.release(admission)
    assert admission.tokens == 0
    assert engine.queued_tokens == 0


def test_all_or_none_are_admitted(make: Callable[..., Engine], backend: ScriptedBackend) -> None:
    engine = slow(make, backend)
    accepted = fill(engine, 0)
    before = engine.queued_tokens
    with pytest.raises(OverloadedError) as caught:
        engine.admit([request(f"q{n}", *WORDS) for n in range(10)])
    assert caught.value.retry_after > 0
    assert engine.queued_tokens == before
    for one in accepted:
        engine.cancel(one)
    engine.release(engine.admit([request(f"q{n}", *WORDS) for n in range(10)]))


def test_what_is_given_back_is_room_for_others(make: Callable[..., Engine], backend: ScriptedBackend) -> None:
    engine = slow(make, backend)
    admission = engine.admit([request(f"q{n}", *WORDS[:10]) for n in range(4)])
    with pytest.raises(OverloadedError):
        engine.submit(request("other", *WORDS))
    engine.release(admission)
    assert engine.queued_tokens == 0
    engine.submit(request("other", *WORDS))


def test_the_deadline_is_one_for_all(make: Callable[..., Engine], backend: ScriptedBackend) -> None:
    engine, now = slow(make, backend, 600.0), time.monotonic()
    one = request("q", *WORDS, deadline=now + 2.0)
    engine.release(engine.admit([one]))
    with pytest.raises(DeadlineExceededError):
        engine.admit([one] * 10)


def test_the_admission_of_another_engine_is_none(make: Callable[..., Engine], backend: ScriptedBackend) -> None:
    engine, other = slow(make, backend), slow(make, backend)
    admission = other.admit([request("q", *WORDS[:5])])
    fill(engine, 0)
    with pytest.raises(OverloadedError):
        engine.submit(request("q", *WORDS[:5]), admission=admission)
    other.release(admission)


def test_a_closed_engine_admits_nothing(make: Callable[..., Engine]) -> None:
    engine = make()
    engine.close(1.0)
    with pytest.raises(UnavailableError):
        engine.admit([request("q", "d")])


def test_a_large_batch_does_not_shut_out_others(make: Callable[..., Engine], backend: ScriptedBackend) -> None:
    engine = slow(make, backend)
    requests = [request(f"q{n}", *WORDS) for n in range(10)]
    admission = engine.admit(requests)
    for one in requests:
        engine.submit(one, admission=admission)
    until(backend, 1)
    small = engine.submit(request("small", "a", "b"))
    backend.gate.set()
    assert small.future.result(SECONDS)


def test_the_urgent_are_admitted_where_the_less_urgent_fill_the_queue(
    make: Callable[..., Engine], backend: ScriptedBackend
) -> None:
    engine = slow(make, backend)
    capacity = engine.admission.capacity
    crowd = fill(engine, 999)
    assert engine.queued_tokens <= capacity + 100
    with pytest.raises(OverloadedError):
        engine.submit(request("of the same", *WORDS[:5], priority=999))
    urgent = fill(engine, 10)
    assert urgent
    assert engine.queued_tokens <= 2 * capacity + 100, "two queues are the most that waits"
    with pytest.raises(OverloadedError):
        engine.submit(request("less", *WORDS[:5], priority=500))
    fill(engine, 0)
    assert engine.queued_tokens <= 2 * capacity + 100
    backend.gate.set()
    for one in (*crowd, *urgent):
        assert one.future.result(SECONDS)


def test_the_urgent_are_answered_first(make: Callable[..., Engine], backend: ScriptedBackend, heard: Heard) -> None:
    engine = make(options=EngineOptions(max_batch_tokens=300, max_queue_seconds=600.0))
    backend.gate.clear()
    answered: list[str] = []
    crowd = [engine.submit(request(f"crowd {n}", *WORDS, tenant=f"tenant {n}", priority=500)) for n in range(10)]
    until(backend, 1)
    urgent = engine.submit(request("urgent", *WORDS, tenant="tenant 0", priority=0))
    for name, one in [*((f"crowd {n}", one) for n, one in enumerate(crowd)), ("urgent", urgent)]:
        one.future.add_done_callback(lambda _, name=name: answered.append(name))  # type: ignore[misc]
    heard.until_encoded(11)
    backend.gate.set()
    for one in (*crowd, urgent):
        one.future.result(SECONDS)
    # At first the oldest of the crowd gets as much as it does; without priorities nine others would, too.
    assert answered.index("urgent") <= 2
