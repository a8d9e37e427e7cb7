"""Scores, shared batches, shared pairs, the cache, fairness."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rerankd.engine.cache import MemoryCache
from rerankd.engine.engine import Engine, EngineOptions
from rerankd.engine.request import EngineRequest, ScoreRequest
from rerankd.errors import (
    OverloadedError,
    RequestCancelledError,
    ScoringError,
)
from rerankd.scoring.encoder import TruncationOptions
from tests.faults import ScriptedBackend, expected, scripted_scorer, token_id
from tests.unit.engine.scripted import (
    SECONDS,
    TRUNCATION,
    Heard,
    direct,
    error_of,
    raw,
    request,
    submitted,
    until,
)


def test_scores_come_back_in_order_with_duplicates_and_several_queries(make: Callable[..., Engine]) -> None:
    engine = make()
    groups = [("panda", ["bamboo", "car", "bamboo", ""]), ("熊猫", ["竹子"]), ("none", [])]
    scored = engine.submit(ScoreRequest(groups, TRUNCATION)).future.result(SECONDS)
    assert [len(group) for group in scored.scores] == [4, 1, 0]
    assert raw(scored) == pytest.approx(direct("panda", "bamboo", "car", "bamboo", "") + direct("熊猫", "竹子"))
    assert set(scored.timings) == {"tokenization", "queue", "inference", "total"}


@pytest.mark.slow
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


@pytest.mark.parametrize("cached", [True, False])
def test_tenants_share_neither_the_cache_nor_pairs_in_flight(
    make: Callable[..., Engine], backend: ScriptedBackend, heard: Heard, cached: bool
) -> None:
    engine = make(cache=MemoryCache(100) if cached else None)
    backend.gate.clear()
    scopes = ("", "a", "b", "a")
    jobs = [engine.submit(request("q", "same", cache_scope=scope)) for scope in scopes]
    heard.until_encoded(4)
    backend.gate.set()
    tokens = [job.future.result(SECONDS).computed_tokens for job in jobs]
    assert tokens[0] == tokens[1] == tokens[2] > 0
    assert tokens[3] == 0  # one tenant shares with itself
    later = [engine.submit(request("q", "same", cache_scope=scope)).future.result(SECONDS) for scope in ("a", "c")]
    assert [scored.cached for scored in later] == ([1, 0] if cached else [0, 0])
    assert later[1].computed_tokens == tokens[0]


def test_tenants_share_scores_where_the_settings_say_so(make: Callable[..., Engine]) -> None:
    engine = make(cache=MemoryCache(100), options=EngineOptions(shared_cache=True))
    first, second = (
        engine.submit(request("q", "same", cache_scope=scope)).future.result(SECONDS) for scope in ("a", "b")
    )
    assert (first.cached, second.cached, second.computed_tokens) == (0, 1, 0)


def test_warm_up_measures_the_speed(backend: ScriptedBackend) -> None:
    engine = Engine("m", "v1", scripted_scorer(backend))
    assert engine.admission.capacity == 0
    engine.warm_up()
    assert engine.admission.capacity > 0
    engine.close()


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


def test_small_batches_do_not_lower_the_measured_speed(make: Callable[..., Engine]) -> None:
    engine = make()
    engine.admission.rate.tokens_per_second = 10.0**9
    for n in range(50):
        engine.submit(request(f"q{n}", "d")).future.result(SECONDS)
    assert engine.admission.rate.tokens_per_second == 10.0**9
