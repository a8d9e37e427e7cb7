"""Backends, tokenizers, caches and threads that fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rerankd.engine.cache import MemoryCache
from rerankd.engine.engine import Engine
from rerankd.errors import (
    RerankdError,
    ScoringError,
    UnavailableError,
)
from tests.faults import ScriptedBackend, token_id
from tests.unit.engine.scripted import (
    SECONDS,
    Heard,
    direct,
    error_of,
    raw,
    request,
    until,
)


def test_one_bad_document_fails_only_its_own_request(make: Callable[..., Engine], backend: ScriptedBackend) -> None:
    engine = make()
    backend.gate.clear()
    engine.submit(request("block", "x"))
    until(backend, 1)
    backend.poison = token_id("bamboo")
    bad = engine.submit(request("q", "fine", "bamboo"))
    good = [engine.submit(request(f"q{n}", "fine", "other")) for n in range(3)]
    backend.gate.set()
    assert isinstance(error_of(bad.future), ScoringError)
    for n, job in enumerate(good):
        assert raw(job.future.result(SECONDS)) == pytest.approx(direct(f"q{n}", "fine", "other"))
    assert engine.queued_tokens == 0


def test_a_backend_that_always_fails_fails_every_request_and_recovers(
    make: Callable[..., Engine], backend: ScriptedBackend, heard: Heard
) -> None:
    engine = make()
    backend.always = True
    assert isinstance(error_of(engine.submit(request("q", "a", "b")).future), ScoringError)
    assert isinstance(error_of(engine.probe().future), ScoringError)
    assert ("failed", "pair") in heard.events
    backend.always = False
    assert engine.probe().future.result(SECONDS)


def test_out_of_memory_is_survived(make: Callable[..., Engine], backend: ScriptedBackend, heard: Heard) -> None:
    engine = make()
    backend.fits = 40
    documents = [f"d {n}" for n in range(60)]
    assert raw(engine.submit(request("q", *documents)).future.result(SECONDS)) == pytest.approx(direct("q", *documents))
    assert ("failed", "out_of_memory") in heard.events


def test_a_dead_loop_fails_all_at_once_and_starts_again(
    backend: ScriptedBackend, heard: Heard, make: Callable[..., Engine]
) -> None:
    now = [100.0]
    engine = make(clock=lambda: now[0])
    backend.gate.clear()
    jobs = [engine.submit(request(f"q{n}", "a")) for n in range(4)]
    until(backend, 1)
    backend.deadly = True
    backend.gate.set()
    for job in jobs:
        assert isinstance(error_of(job.future), UnavailableError)
    assert ("failed", "loop") in heard.events
    with pytest.raises(UnavailableError, match="being restarted"):
        engine.submit(request("q", "a"))
    with pytest.raises(UnavailableError):
        engine.probe()
    backend.deadly = False
    now[0] += 2.0
    assert engine.probe().future.result(SECONDS)
    assert engine.queued_tokens == 0


def test_a_batch_that_never_ends_is_given_up_by_the_probe(
    backend: ScriptedBackend, make: Callable[..., Engine]
) -> None:
    now = [100.0]
    engine = make(clock=lambda: now[0])
    backend.gate.clear()
    job = engine.submit(request("q", "a"))
    until(backend, 1)
    assert engine.stalled == 0
    now[0] += 1000
    assert engine.stalled > 900
    with pytest.raises(UnavailableError):
        engine.probe()
    assert isinstance(error_of(job.future), UnavailableError)
    now[0] += 2
    backend.gate.set()
    assert engine.probe().future.result(SECONDS)


def test_a_tokenizer_that_fails_fails_its_request(make: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make()

    def broken(*_: object) -> None:
        raise ValueError("secret")

    monkeypatch.setattr(engine.scorer.encoder, "encode", broken)
    error = error_of(engine.submit(request("q", "a")).future)
    assert isinstance(error, RerankdError)
    assert "secret" not in str(error)


def test_a_tokenizer_that_panics_fails_its_request(
    make: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Panic(BaseException):
        pass

    engine = make()
    encode = engine.scorer.encoder.encode

    def panics(query: str, *rest: Any) -> Any:
        if query == "bad":
            raise Panic
        return encode(query, *rest)

    monkeypatch.setattr(engine.scorer.encoder, "encode", panics)
    assert isinstance(error_of(engine.submit(request("bad", "a")).future), RerankdError)
    assert engine.submit(request("good", "a")).future.result(SECONDS)


def test_a_cache_that_fails_costs_nothing(make: Callable[..., Engine]) -> None:
    class Broken(MemoryCache):
        def put(self, scores: object) -> None:
            raise ValueError("broken")

    engine = make(cache=Broken(1))
    assert engine.submit(request("q", "a")).future.result(SECONDS)
    assert engine.submit(request("q", "b")).future.result(SECONDS)


def test_crashes_without_a_success_are_counted(make: Callable[..., Engine], backend: ScriptedBackend) -> None:
    now = [0.0]
    engine = make(clock=lambda: now[0])
    backend.deadly = True
    for _ in range(3):
        assert isinstance(error_of(engine.submit(request("q", "a")).future), UnavailableError)
        now[0] += 2.0
    assert engine.crashes == 3
    backend.deadly = False
    assert engine.submit(request("q", "a")).future.result(SECONDS)
    assert engine.crashes == 0
