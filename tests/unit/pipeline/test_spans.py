"""Spans in the pipeline: one admission, one charge, one model, and a ranking that is the same without them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from rerankd.engine.engine import Engine
from rerankd.engine.pool import ModelPool
from rerankd.engine.request import QueryGroup, ScoreRequest
from rerankd.errors import DeadlineExceededError, OverloadedError, RateLimitedError, UnsupportedFieldError
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.router import RoutingTable
from rerankd.experiments.traffic import Traffic
from rerankd.pipeline.applied_rules import INLINE_CHARACTERS
from rerankd.pipeline.batch import run_batch
from rerankd.pipeline.pipeline import Pipeline
from rerankd.ranking.requests import build_request
from rerankd.ranking.spans import MAX_SENTENCES, OTHER_MODEL
from rerankd.types import Document, RankingRecord, RerankRequest, RerankResult, SpanOptions, TruncationOverrides
from tests.faults import ScriptedBackend, token_id
from tests.unit.jobs.scripted_worker import ScriptedLoader

TEXTS = ["Pandas eat bamboo. They sleep.", "A car.", "大熊猫吃竹子。它睡觉。 And so on"]
SENTENCES = {"Pandas eat bamboo.", "They sleep.", "大熊猫吃竹子。", "它睡觉。", "And so on"}
EVERY = SpanOptions(threshold=0.0)
SECONDS = 20


class Recorded:
    def __init__(self) -> None:
        self.records: list[RankingRecord] = []

    def record(self, ranking: RankingRecord) -> None:
        self.records.append(ranking)


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
async def pool(backend: ScriptedBackend) -> AsyncIterator[ModelPool]:
    pool = ModelPool("mini", {"mini": "mini"}, ScriptedLoader(backend), close_seconds=1.0)
    async with pool.lease("mini"):
        pass
    yield pool
    backend.gate.set()
    await pool.close()


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[ScoreRequest]:
    """Return the requests that engines get."""
    requests: list[ScoreRequest] = []
    submit = Engine.submit

    def spy(engine: Engine, request: ScoreRequest, **options: object) -> object:
        requests.append(request)
        return submit(engine, request, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "submit", spy)
    return requests


def asked(*texts: str, spans: SpanOptions | None = EVERY, **fields: object) -> RerankRequest:
    request = build_request("q", [Document(text) for text in texts or TEXTS], spans=spans)
    return replace(request, **fields)  # type: ignore[arg-type]


def scores_by_text(result: RerankResult) -> dict[str, float]:
    return {
        document.document.text[span.start : span.end]: span.score
        for document in result
        for span in document.spans or ()
    }


def documents_of(groups: Sequence[QueryGroup]) -> list[str]:
    return [text for _, texts in groups for text in texts]


async def test_a_span_has_the_score_of_its_pair(pool: ModelPool) -> None:
    pipeline = Pipeline(pool)
    plain = await pipeline.run(asked(spans=None))
    result = await pipeline.run(asked())
    assert [(row.index, row.relevance_score) for row in result] == [(row.index, row.relevance_score) for row in plain]
    spans = scores_by_text(result)
    assert set(spans) == SENTENCES | {"A car."}
    singles = await pipeline.run(asked(*spans, spans=None))
    assert spans == pytest.approx({row.document.text: row.relevance_score for row in singles}, abs=1e-6)
    assert result.usage.sentences == len(SENTENCES)
    assert result.usage.tokens > plain.usage.tokens
    assert result.computed_tokens == result.usage.tokens
    assert plain.usage.sentences == 0


async def test_a_request_without_spans_is_one_request_of_the_engine(
    pool: ModelPool, submitted: list[ScoreRequest]
) -> None:
    await Pipeline(pool).run(asked(spans=None))
    (request,) = submitted
    assert request.follow_up == ()
    assert request.all_groups is request.groups


async def test_a_full_queue_or_quota_refuses_the_ranking_before_anything_is_computed(
    pool: ModelPool, backend: ScriptedBackend
) -> None:
    async def charge(tokens: int) -> None:
        raise RateLimitedError("No more.")

    with pytest.raises(RateLimitedError):
        await Pipeline(pool).run(asked(), charge)
    async with pool.lease("mini") as model:
        assert model.leases == 1
        model.engine.admission.max_queue_seconds = 1e-9
        model.engine._room.tokens = 100
        with pytest.raises(OverloadedError):
            await Pipeline(pool).run(asked())
        model.engine._room.tokens = 0
    assert backend.calls == []


async def test_cached_sentences_cost_nothing(backend: ScriptedBackend, pool: ModelPool) -> None:
    request = asked(TEXTS[0], "Pandas eat bamboo.", "They sleep.")
    result = await Pipeline(pool).run(request)
    assert result.usage.sentences == 2
    assert sorted(scores_by_text(result).values()) == sorted({row.relevance_score for row in result if row.index})


async def test_the_model_is_kept_while_it_is_swapped(pool: ModelPool, backend: ScriptedBackend) -> None:
    """The ranking is computed when a new model comes; its sentences are still scored by the old one."""
    async with pool.lease("mini") as old:
        pass
    backend.gate.clear()
    task = asyncio.create_task(Pipeline(pool).run(asked()))
    assert await asyncio.to_thread(backend.entered.acquire, timeout=SECONDS)
    other = ScriptedBackend()
    pool._loader = ScriptedLoader(other)
    await pool.swap("mini", "mini")
    assert not old.idle.is_set()
    backend.gate.set()
    result = await task
    assert set(scores_by_text(result)) == SENTENCES | {"A car."}
    assert other.calls == []
    await asyncio.wait_for(old.idle.wait(), SECONDS)
    assert old.leases == 0


@pytest.mark.parametrize("kind", ["canary", "interleave"])
async def test_experiments_score_sentences_by_the_model_that_answers(
    pool: ModelPool, kind: str, submitted: list[ScoreRequest]
) -> None:
    traffic, recorder = Traffic(), Recorded()
    experiment = Experiment("e", kind, "mini", "mini", coverage=1.0, id=1)  # type: ignore[arg-type]
    await pool.add(experiment.served_as, "mini")
    traffic.routes = RoutingTable([experiment])
    result = await Pipeline(pool, recorder, traffic=traffic).run(asked(user="u"))
    assert result.experiment.startswith("e/")
    assert set(scores_by_text(result)) == SENTENCES | {"A car."}
    assert len(recorder.records) == 1
    assert [len(request.follow_up) > 0 for request in submitted].count(False) == len(submitted), "asked for once"
    assert all(model.leases == 0 for model in pool.loaded.values())


async def test_a_deadline_holds_for_the_sentences_too(pool: ModelPool, backend: ScriptedBackend) -> None:
    recorder = Recorded()
    calls, logits = [], backend.logits

    def slow(pairs: object) -> object:  # the ranking is computed, its sentences are not
        calls.append(pairs)
        if len(calls) == 2:
            backend.gate.clear()
        return logits(pairs)  # type: ignore[arg-type]

    backend.logits = slow  # type: ignore[method-assign, assignment]
    with pytest.raises(DeadlineExceededError):
        await Pipeline(pool, recorder).run(asked(timeout=1.0))
    assert recorder.records == [], "nobody saw that ranking"
    assert all(model.leases == 0 for model in pool.loaded.values())


async def test_traces_are_as_without_spans(pool: ModelPool) -> None:
    recorder = Recorded()
    pipeline = Pipeline(pool, recorder)
    await pipeline.run(asked(spans=None, cache=False))
    await pipeline.run(asked(cache=False))
    plain, spanned = recorder.records
    assert list(plain.scores) == list(spanned.scores)
    assert replace(spanned.request, spans=None) == plain.request


async def test_sentences_of_texts_that_may_not_be_cut(pool: ModelPool) -> None:
    whole = TruncationOverrides(allow_truncation=False)
    result = await Pipeline(pool).run(asked(truncation=whole))
    assert set(scores_by_text(result)) == SENTENCES | {"A car."}


async def test_long_texts_are_split_in_a_thread(pool: ModelPool, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[object] = []
    to_thread = asyncio.to_thread

    async def spy(function: object, *args: object) -> object:
        threads.append(function)
        return await to_thread(function, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "to_thread", spy)
    result = await Pipeline(pool).run(asked("word " * (INLINE_CHARACTERS // 5 + 1)))
    assert len(threads) == 2
    assert len(result[0].spans or ()) > 30


async def test_joined_sentences_are_named_and_refused_where_the_request_is_strict(pool: ModelPool) -> None:
    text = "Aa. " * (MAX_SENTENCES + 1)
    (warning,) = (await Pipeline(pool).run(asked(text))).warnings
    assert warning.startswith("relevant_spans of 1 document")
    with pytest.raises(UnsupportedFieldError) as raised:
        await Pipeline(pool).run(asked(text, strict=True))
    assert raised.value.field == "relevant_spans"


async def test_a_batch_admits_and_charges_the_sentences_with_it(pool: ModelPool, submitted: list[ScoreRequest]) -> None:
    charges: list[tuple[int, int]] = []

    async def charge(tokens: int, requests: int) -> None:
        charges.append((tokens, requests))

    pipeline = Pipeline(pool)
    batch = await run_batch(pipeline, pool, [asked(), asked(spans=None), asked(top_n=1)], charge=charge)
    first, plain, best = batch.outcomes
    assert isinstance(first, RerankResult)
    assert isinstance(plain, RerankResult)
    assert isinstance(best, RerankResult)
    assert scores_by_text(first) == scores_by_text(await pipeline.run(asked()))
    assert plain[0].spans is None
    assert best[0].spans == first[0].spans
    assert len(submitted) == 3 + 2 + 2
    assert [requests for _, requests in charges] == [3]
    async with pool.lease("mini") as model:
        assert charges[0][0] > 3 * model.engine.estimate_tokens([("q", TEXTS)], submitted[0].truncation)
        assert model.engine.queued_tokens == 0
        assert model.leases == 1


async def test_pieces_of_another_model_are_left_out(pool: ModelPool) -> None:
    """A job scores its sentences later than its documents, and the model may be another one by then."""
    pipeline, request = Pipeline(pool), asked()
    rules = await pipeline.apply_rules(request)
    pieces = [await pipeline.score([(rules.query, TEXTS)], request)]

    async def score(sentences: Sequence[str]) -> list[object]:
        return [replace(await pipeline.score([(rules.query, sentences)], request), version="2")]

    result = await pipeline.finish_with_spans(request, pieces, rules, score)  # type: ignore[arg-type]
    assert result.warnings == (OTHER_MODEL,)
    assert all(document.spans is None for document in result)
    assert (result.computed_tokens or 0) > pieces[0].result.computed_tokens


async def test_a_sentence_that_cannot_be_scored_fails_the_request(pool: ModelPool, backend: ScriptedBackend) -> None:
    backend.nan = None
    recorder, calls, logits = Recorded(), [], backend.logits

    def failing(pairs: Sequence[object]) -> object:
        calls.append(pairs)
        backend.poison = token_id("bamboo") if len(calls) > 1 else None
        return logits(pairs)  # type: ignore[arg-type]

    backend.logits = failing  # type: ignore[method-assign, assignment]
    with pytest.raises(Exception, match="model|score|failed"):
        await Pipeline(pool, recorder).run(asked(TEXTS[0]))
    assert recorder.records == []
