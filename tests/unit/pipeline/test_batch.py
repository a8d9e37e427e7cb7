"""Many rankings in one call: results and errors in order, one charge, one deadline, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from rerankd.engine.pool import ModelPool
from rerankd.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    RateLimitedError,
    RerankdError,
    UnavailableError,
)
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.router import RoutingTable
from rerankd.experiments.traffic import Traffic
from rerankd.pipeline.batch import BatchResult, run_batch
from rerankd.pipeline.pipeline import Pipeline
from rerankd.ranking.requests import build_request
from rerankd.types import Document, RankingRecord, RerankRequest, RerankResult, TruncationOverrides
from tests.faults import ScriptedBackend, token_id
from tests.unit.jobs.scripted_worker import ScriptedLoader


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
    references = {"mini": "mini", "other": "mini", "missing": "/no/such/model"}
    pool = ModelPool("mini", references, ScriptedLoader(backend), strict=True, close_seconds=1.0)
    async with pool.lease("mini"):
        pass
    yield pool
    backend.gate.set()
    await pool.close()


def asked(query: str, *documents: str, **fields: object) -> RerankRequest:
    request = build_request(query, [Document(text) for text in documents])
    return replace(request, **fields)  # type: ignore[arg-type]


def scores(result: RerankResult | RerankdError) -> list[tuple[int, float]]:
    assert isinstance(result, RerankResult)
    return [(ranked.index, ranked.raw_score) for ranked in result]


def kinds(batch: BatchResult) -> list[type]:
    return [type(outcome) for outcome in batch.outcomes]


async def test_each_ranking_is_that_of_a_call_of_its_own(pool: ModelPool) -> None:
    recorder = Recorded()
    pipeline = Pipeline(pool, recorder)
    requests = [
        asked("panda", "bamboo", "a car", request_id="r.0"),
        asked("car", "engine", request_id="r.1", model="other"),
        asked("car", "a", "b", "c", request_id="r.2", top_n=2, truncation=TruncationOverrides(max_length=16)),
    ]
    batch = await run_batch(pipeline, pool, requests)
    alone = [await pipeline.run(replace(request, cache=False)) for request in requests]
    assert [scores(outcome) for outcome in batch.outcomes] == [scores(result) for result in alone]
    assert batch.tokens == sum(result.computed_tokens or 0 for result in alone)
    assert {record.request.request_id for record in recorder.records[:3]} == {"r.0", "r.1", "r.2"}


async def test_what_is_wrong_with_one_is_its_own_error(pool: ModelPool, backend: ScriptedBackend) -> None:
    backend.poison = token_id("bamboo")
    charges: list[tuple[int, int]] = []

    async def charge(tokens: int, requests: int) -> None:
        charges.append((tokens, requests))

    requests: list[RerankRequest | RerankdError] = [
        asked("q", "fine"),
        InvalidRequestError("query is empty."),
        asked("q", "d", model="nothing"),
        asked("q", "d", model="missing"),
        asked("q", "d", truncation=TruncationOverrides(max_length=99_999)),
        asked("q", "bamboo"),
        asked("q", "fine too"),
    ]
    batch = await run_batch(Pipeline(pool), pool, requests, charge=charge)
    assert kinds(batch)[:3] == [RerankResult, InvalidRequestError, ModelNotFoundError]
    assert [getattr(outcome, "status", 200) for outcome in batch.outcomes] == [200, 400, 404, 404, 400, 500, 200]
    assert [requests for _, requests in charges] == [3], "only what can be computed is charged"
    assert charges[0][0] > 0


async def test_a_refused_charge_refuses_all(pool: ModelPool, backend: ScriptedBackend) -> None:
    async def charge(tokens: int, requests: int) -> None:
        raise RateLimitedError("No more.")

    with pytest.raises(RateLimitedError):
        await run_batch(Pipeline(pool), pool, [asked("q", "d")] * 3, charge=charge)
    assert backend.calls == []


async def test_a_full_queue_of_one_model_refuses_all_and_keeps_no_room(
    pool: ModelPool, backend: ScriptedBackend
) -> None:
    async with pool.lease("mini") as first, pool.lease("other") as second:
        backend.gate.clear()
        second.engine.admission.max_queue_seconds = 2.0
        second.engine.admission.rate.tokens_per_second = 1.0
        waiting = asyncio.create_task(Pipeline(pool).run(asked("q", "d", model="other")))
        while not second.engine.queued_tokens:
            await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await run_batch(Pipeline(pool), pool, [asked("q", "d"), asked("q", "e", model="other")])
        assert first.engine.queued_tokens == 0
        backend.gate.set()
        await waiting


async def test_a_model_that_is_not_up_refuses_all(pool: ModelPool) -> None:
    await pool.close()
    with pytest.raises(UnavailableError):
        await run_batch(Pipeline(pool), pool, [asked("q", "d")])


async def test_the_deadline_is_one_for_all_and_what_is_done_is_returned(
    pool: ModelPool, backend: ScriptedBackend
) -> None:
    pipeline = Pipeline(pool)
    backend.gate.clear()
    with pytest.raises(DeadlineExceededError):
        await run_batch(pipeline, pool, [asked("q", "d"), asked("r", "d")], timeout=0.05)
    backend.gate.set()
    batch = await run_batch(pipeline, pool, [asked("u", "d"), asked("t", "d", timeout=1e-9)], timeout=20)
    assert kinds(batch) == [RerankResult, DeadlineExceededError]
    assert isinstance(batch.outcomes[0], RerankResult)
    assert batch.tokens > (batch.outcomes[0].computed_tokens or 0), "what timed out stays charged"


async def test_cancelling_the_call_cancels_all_rankings(pool: ModelPool, backend: ScriptedBackend) -> None:
    async with pool.lease("mini") as model:
        backend.gate.clear()
        task = asyncio.create_task(run_batch(Pipeline(pool), pool, [asked(f"q{n}", "d", "e") for n in range(20)]))
        while model.engine.queued_requests < 20:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert model.engine.queued_requests == 0
        assert model.leases == 1, "that of this test"
        backend.gate.set()


async def test_each_ranking_takes_part_in_experiments_as_alone(pool: ModelPool) -> None:
    traffic = Traffic()
    traffic.routes = RoutingTable([Experiment("new", "canary", "mini", "mini", coverage=1.0, state="running")])
    await pool.add("mini~new", "mini")
    pipeline = Pipeline(pool, traffic=traffic)
    requests = [asked("q", "d", user="u1"), asked("r", "d", user="u2"), asked("s", "d")]
    batch = await run_batch(pipeline, pool, requests)
    experiments = [outcome.experiment for outcome in batch.outcomes if isinstance(outcome, RerankResult)]
    assert experiments == ["new/challenger", "new/challenger", ""]


async def test_nobody_asks_for_nothing(pool: ModelPool) -> None:
    assert await run_batch(Pipeline(pool), pool, []) == BatchResult([], 0)
