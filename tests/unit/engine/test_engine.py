from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from rerankd.engine.cache import MemoryCache
from rerankd.engine.engine import Engine, EngineOptions
from rerankd.engine.observer import EngineObserver
from rerankd.engine.request import EngineRequest, ScoreRequest, ScoreResult
from rerankd.errors import (
    DeadlineExceededError,
    OverloadedError,
    RequestCancelledError,
    RerankdError,
    ScoringError,
    UnavailableError,
)
from rerankd.scoring.encoder import TruncationOptions
from tests.faults import ScriptedBackend, expected, scripted_scorer, token_id

TRUNCATION = TruncationOptions(64)
SECONDS = 20


class Heard(EngineObserver):
    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.batches: list[tuple[int, int, int]] = []
        self._encoded = threading.Semaphore(0)

    def encoded(self, model: str, seconds: float) -> None:
        self._encoded.release()

    def until_encoded(self, slices: int) -> None:
        for _ in range(slices):
            assert self._encoded.acquire(timeout=SECONDS)

    def dropped(self, model: str, pairs: int, reason: str) -> None:
        self.events.append(("dropped", pairs, reason))

    def failed(self, model: str, kind: str) -> None:
        self.events.append(("failed", kind))

    def refused(self, model: str, reason: str) -> None:
        self.events.append(("refused", reason))

    def batch(self, model: str, pairs: int, tokens: int, padded: int, seconds: float) -> None:
        self.events.append(("batch", pairs))
        self.batches.append((pairs, tokens, padded))


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def make(backend: ScriptedBackend, heard: Heard) -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def one(**options: Any) -> Engine:
        engine = Engine("m", "v1", scripted_scorer(backend), observer=heard, **options)
        engine.admission.rate.observe(10**6, 1.0)  # as warming up does
        made.append(engine)
        return engine

    yield one
    backend.gate.set()
    for engine in made:
        engine.close(1.0)


def request(query: str, *documents: str, **options: Any) -> ScoreRequest:
    return ScoreRequest([(query, documents)], TRUNCATION, **options)


def raw(scored: ScoreResult) -> list[float]:
    return [score.raw_score for group in scored.scores for score in group]


def direct(query: str, *documents: str) -> list[float]:
    encoder = scripted_scorer(ScriptedBackend()).encoder
    return [expected(windows[0]) for windows in encoder.encode(query, documents, TRUNCATION)]


def until(backend: ScriptedBackend, calls: int) -> None:
    """Wait until so many calls have begun."""
    for _ in range(calls):
        assert backend.entered.acquire(timeout=SECONDS)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a state that nothing announces."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def submitted(engine: Engine, count: int, *documents: str) -> None:
    for n in range(count):
        engine.submit(request(f"q{n}", *documents))


def error_of(future: Future[ScoreResult]) -> BaseException:
    error = future.exception(SECONDS)
    assert error is not None
    return error


def test_scores_come_back_in_order_with_duplicates_and_several_queries(make: Callable[..., Engine]) -> None:
    engine = make()
    groups = [("panda", ["bamboo", "car", "bamboo", ""]), ("熊猫", ["竹子"]), ("none", [])]
    scored = engine.submit(ScoreRequest(groups, TRUNCATION)).future.result(SECONDS)
    assert [len(group) for group in scored.scores] == [4, 1, 0]
    assert raw(scored) == pytest.approx(direct("panda", "bamboo", "car", "bamboo", "") + direct("熊猫", "竹子"))
    assert set(scored.timings) == {"tokenization", "queue", "inference", "total"}


def test_more_documents_than_a_slice(make: Callable[..., Engine]) -> None:
    documents = [f"document {n}" for n in range(1000)]
    scored = make().submit(request("q", *documents)).future.result(SECONDS)
    assert raw(scored) == pytest.approx(direct("q", *documents))


def test_windows_of_a_long_document_are_joined(make: Callable[..., Engine]) -> None:
    truncation = TruncationOptions(64, long_documents="chunk", chunk_overlap=4)
    text = " ".join(f"word{n}" for n in range(200))
    engine = make()
    scored = engine.submit(ScoreRequest([("q", [text])], truncation)).future.result(SECONDS)
    windows = engine.scorer.encoder.encode("q", [text], truncation)[0]
    (score,) = scored.scores[0]
    assert score.chunks == len(windows) > 1
    assert score.raw_score == pytest.approx(max(map(expected, windows)))


def test_requests_share_batches(make: Callable[..., Engine], backend: ScriptedBackend) -> None:
    engine = make()
    backend.gate.clear()
    jobs = [engine.submit(request("first", "x"))]
    until(backend, 1)
    jobs += [engine.submit(request(f"q{n}", "a", "b")) for n in range(5)]
    backend.gate.set()
    for job in jobs:
        job.future.result(SECONDS)
    assert len(backend.calls) < 11


@pytest.mark.parametrize(
    ("max_pairs", "max_tokens", "max_padding"),
    [(None, None, None), (1, None, 0.05), (3, None, 0.5), (None, 40, 0.2), (2, 30, None)],
)
def test_observed_batches_are_the_calls_of_the_backend(
    make: Callable[..., Engine],
    backend: ScriptedBackend,
    heard: Heard,
    max_pairs: int | None,
    max_tokens: int | None,
    max_padding: float | None,
) -> None:
    backend.max_batch_pairs, backend.max_batch_tokens, backend.max_padding = max_pairs, max_tokens, max_padding
    engine = make()
    documents = [f"{n} " + "word " * (n % 7) for n in range(50)]
    assert raw(engine.submit(request("q", *documents)).future.result(SECONDS)) == pytest.approx(direct("q", *documents))
    packed = max_padding is None
    calls = [(len(call), sum(call), sum(call) if packed else len(call) * max(call)) for call in backend.calls]
    assert heard.batches == calls


def test_observed_batches_leave_out_calls_that_fail(
    make: Callable[..., Engine], backend: ScriptedBackend, heard: Heard
) -> None:
    backend.poison = token_id("bamboo")
    engine = make()
    failing = engine.submit(request("q", "fine", "bamboo", "other", "more"))
    assert isinstance(error_of(failing.future), ScoringError)
    assert engine.submit(request("q", "another")).future.result(SECONDS)
    assert sum(pairs for pairs, _, _ in heard.batches) == 4  # each once, but the one that fails


def test_identical_pairs_in_flight_are_computed_once(
    make: Callable[..., Engine], backend: ScriptedBackend, heard: Heard
) -> None:
    engine = make()
    backend.gate.clear()
    jobs = [engine.submit(request("q", "same", f"own {n}")) for n in range(4)]
    heard.until_encoded(4)
    backend.gate.set()
    logits = [raw(job.future.result(SECONDS)) for job in jobs]
    assert [scores[0] for scores in logits] == pytest.approx(direct("q", "same") * 4)
    assert sum(map(len, backend.calls)) == 5


def test_a_shared_pair_survives_the_request_that_brought_it(
    make: Callable[..., Engine], backend: ScriptedBackend, heard: Heard
) -> None:
    engine = make()
    backend.gate.clear()
    engine.submit(request("block", "x"))
    until(backend, 1)
    first, second = engine.submit(request("q", "same")), engine.submit(request("q", "same"))
    heard.until_encoded(3)
    engine.cancel(first)
    backend.gate.set()
    assert isinstance(error_of(first.future), RequestCancelledError)
    assert raw(second.future.result(SECONDS)) == pytest.approx(direct("q", "same"))


def test_cache_is_used_and_can_be_left_alone(make: Callable[..., Engine], backend: ScriptedBackend) -> None:
    engine = make(cache=MemoryCache(100))
    first = engine.submit(request("q", "a", "b")).future.result(SECONDS)
    again = engine.submit(request("q", "b", "c")).future.result(SECONDS)
    assert (first.cached, again.cached) == (0, 1)
    fresh = engine.submit(request("q", "a", "b", cache=False)).future.result(SECONDS)
    assert fresh.cached == 0
    assert raw(fresh) == raw(first)
    assert sum(map(len, backend.calls)) == 5


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


def test_a_tokenizer_that_fails_fails_its_request(make: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make()

    def broken(*_: object) -> None:
        raise ValueError("secret")

    monkeypatch.setattr(engine.scorer.encoder, "encode", broken)
    error = error_of(engine.submit(request("q", "a")).future)
    assert isinstance(error, RerankdError)
    assert "secret" not in str(error)


def test_warm_up_measures_the_speed(backend: ScriptedBackend) -> None:
    engine = Engine("m", "v1", scripted_scorer(backend))
    assert engine.admission.capacity == 0
    engine.warm_up()
    assert engine.admission.capacity > 0
    engine.close()


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


def test_a_large_request_does_not_shut_out_small_ones(make: Callable[..., Engine], backend: ScriptedBackend) -> None:
    engine = make(options=EngineOptions(max_queue_seconds=2.0))
    engine.admission.rate.observe(1000, 1000.0)
    engine.admission.rate.tokens_per_second = 1000.0
    backend.gate.clear()
    engine.submit(request("large", *(f"document number {n}" for n in range(500))))
    until(backend, 1)
    small = engine.submit(request("small", "a", "b"))
    with pytest.raises(OverloadedError):
        submitted(engine, 200, "some more words", "and others")
    backend.gate.set()
    assert small.future.result(SECONDS)


def test_work_in_the_background_takes_no_place_from_others(
    make: Callable[..., Engine], backend: ScriptedBackend
) -> None:
    engine = make(options=EngineOptions(max_queue_seconds=20.0))
    engine.admission.rate.tokens_per_second = 1000.0  # a large model on a small machine
    backend.gate.clear()
    texts = [f"text {n} " + "word " * 40 for n in range(500)]
    jobs, refused = list[EngineRequest](), None
    while refused is None:
        try:
            jobs.append(engine.submit(request(f"b{len(jobs)}", *texts, background=True)))
        except OverloadedError as error:
            refused = error
    assert 0 < refused.retry_after < 60
    for number in range(5):
        jobs.append(engine.submit(request(f"q{number}", "short")))
    backend.gate.set()
    for job in jobs:
        job.future.result(SECONDS)


def test_what_must_not_be_cut_is_refused_before_it_is_computed(
    make: Callable[..., Engine], backend: ScriptedBackend
) -> None:
    engine = make()
    error = error_of(engine.submit(request("q", "short", "long " * 200, allow_truncation=False)).future)
    assert "Document 1 with the query is longer than 64 tokens" in str(error)
    assert backend.calls == []


def test_small_batches_do_not_lower_the_measured_speed(make: Callable[..., Engine]) -> None:
    engine = make()
    engine.admission.rate.tokens_per_second = 10.0**9
    for n in range(50):
        engine.submit(request(f"q{n}", "d")).future.result(SECONDS)
    assert engine.admission.rate.tokens_per_second == 10.0**9


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
