from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rerankd.engine.pool import ModelPool
from rerankd.errors import ConflictError, InvalidRequestError, ModelNotFoundError, NotFoundError
from rerankd.evaluation.dataset import open_dataset
from rerankd.evaluation.saved import EvaluationPlan, SavedEvaluation
from rerankd.evaluation.saved_store import EvaluationStore
from rerankd.feedback.case_store import flag_request, list_cases
from rerankd.feedback.case_update import update_case
from rerankd.models.files import load_model
from rerankd.pipeline.pipeline import Pipeline
from rerankd.server import evaluation_run, evaluation_service
from rerankd.server.auth.keys import ApiKey, new_key
from rerankd.server.auth.quotas import MemoryQuotas
from rerankd.server.evaluation_run import MAX_SLICE, BackgroundScorer, SliceSize, rerank
from rerankd.server.evaluation_service import MAX_WAITING, MAX_WAITING_OF_TENANT, EvaluationService
from rerankd.server.trace_service import TraceService
from rerankd.settings import load_settings
from tests.faults import ScriptedBackend
from tests.unit.evaluation.folders import CANDIDATES, QUERIES, write_folder
from tests.unit.feedback.written import write
from tests.unit.jobs.scripted_worker import ScriptedLoader

FOLDER = EvaluationPlan("folder", "data/tiny", ("mini",), 50, 100)
PAIRS = sum(map(len, CANDIDATES.values()))


NOON = 1_767_268_800.0  # 2026-01-01 12:00 UTC


class Charges(MemoryQuotas):
    """Quotas that remember what was charged and given back. It is always noon: a daily quota refills at midnight."""

    def __init__(self) -> None:
        super().__init__()
        self.charged: list[int] = []
        self.requests = 0
        self.corrected: list[int] = []

    async def charge(self, key: ApiKey, tokens: int, now: float, *, requests: int = 1) -> None:
        await super().charge(key, tokens, NOON, requests=requests)
        self.charged.append(tokens)
        self.requests += requests

    async def correct(self, key: ApiKey, delta_tokens: int, now: float) -> None:
        await super().correct(key, delta_tokens, NOON)
        self.corrected.append(delta_tokens)


class Running:
    """A service of evaluations on a backend that does as it is told."""

    def __init__(self, tmp_path: Path) -> None:
        self.backend, self.quotas = ScriptedBackend(), Charges()
        write_folder(tmp_path / "data" / "tiny")
        self.settings = load_settings(
            traces_url=f"sqlite:///{tmp_path}/traces.sqlite", evaluation_folders=[str(tmp_path / "data")]
        )
        self.traces = TraceService(self.settings)
        self.pool = ModelPool("mini", {"mini": "mini", "other": "mini"}, ScriptedLoader(self.backend), close_seconds=5)
        self.service = EvaluationService(self.settings, Pipeline(self.pool), self.pool, self.traces, self.quotas)

    @property
    def store(self) -> EvaluationStore:
        return self.service.store

    async def submit(self, plan: EvaluationPlan = FOLDER, tenant: str | None = None, key: ApiKey | None = None) -> int:
        return await self.service.submit(plan, tenant, key, "me")

    async def until(self, number: int, true: Callable[[SavedEvaluation], object]) -> SavedEvaluation:
        deadline = time.monotonic() + 60
        while not true(saved := self.store.get(number, None)):
            assert time.monotonic() < deadline, saved
            await asyncio.sleep(0.01)
        return saved

    async def ended(self, number: int) -> SavedEvaluation:
        return await self.until(number, lambda saved: saved.is_final)

    async def close(self) -> None:
        self.backend.gate.set()
        await self.service.close()
        await self.pool.close()
        self.traces.close()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    started = Running(tmp_path)
    yield started
    await started.close()


async def test_a_folder_is_reranked_and_measured(running: Running) -> None:
    plan = EvaluationPlan("folder", "data/tiny", ("mini", "other"), 2, 100)
    done = await running.ended(await running.submit(plan))
    pairs = sum(min(2, len(ranking)) for ranking in CANDIDATES.values())
    assert (done.state, done.done, done.total) == ("done", 2 * pairs, 2 * pairs)
    assert done.headline["baseline"] == "first-stage"
    assert [each["system"] for each in done.headline["comparisons"]] == ["mini", "other"]
    result = running.store.result(done.id)
    assert result["query_ids"] == sorted(QUERIES)
    assert result["models"]["mini"]["pairs"] == pairs
    assert result["values"]["first-stage"][0][1] == 0.5  # RR of the first query: its document is second
    query = running.store.query(done.id, 0)
    assert query["candidates"] == list(CANDIDATES["q1"])
    assert query["grades"] == {"d1": 1}
    assert len(query["logits"]["mini"]) == 2
    assert not any(text in str((result, query)) for text in QUERIES.values()), "no text is kept"


async def test_an_administrator_names_any_other_model(running: Running, tmp_path: Path) -> None:
    folder = str(load_model("mini").folder)
    plan = EvaluationPlan("folder", "data/tiny", ("mini", folder), 50, 100)
    done = await running.ended(await running.submit(plan))
    assert list(running.store.result(done.id)["models"]) == ["mini", folder]
    assert running.pool.unlisted == {}, "it is unloaded again"
    (tmp_path / "empty").mkdir()
    failed = await running.ended(
        await running.submit(EvaluationPlan("folder", "data/tiny", (str(tmp_path / "empty"),), 1, 1))
    )
    assert failed.state == "failed"
    with pytest.raises(ModelNotFoundError):
        await running.submit(plan, "acme")


async def test_labelled_cases_of_a_tenant_are_a_dataset(running: Running) -> None:
    for tenant in ("acme", "other"):
        write(running.traces.store, f"r-{tenant}", 1.0, 2.0, 3.0, tenant=tenant, query=f"query of {tenant}")
        flag_request(running.traces.store, f"r-{tenant}", tenant)
    plan = EvaluationPlan("cases", "", ("mini",), 50, 100)
    failed = await running.ended(await running.submit(plan, "acme"))
    assert (failed.state, failed.error) == ("failed", "No case has grades. Label some cases first.")
    numbers = {case.tenant: case.id for case in list_cases(running.traces.store)}
    for number in numbers.values():
        update_case(running.traces.store, number, grades={1: 1})
    done = await running.ended(await running.submit(plan, "acme"))
    assert running.store.result(done.id)["query_ids"] == [f"case-{numbers['acme']}"]
    everything = await running.ended(await running.submit(plan))
    assert running.store.result(everything.id)["dataset"]["queries"] == 2


async def test_a_key_is_charged_what_was_computed(running: Running) -> None:
    _, key = new_key("team", tokens_per_minute=1_000_000)
    await running.ended(
        await running.submit(EvaluationPlan("folder", "data/tiny", ("mini", "other"), 50, 100), key=key)
    )
    assert len(running.quotas.charged) >= 2
    assert running.quotas.requests == 1
    assert len(running.quotas.corrected) == len(running.quotas.charged)
    assert 0 < sum(running.quotas.charged) + sum(running.quotas.corrected) < 1000


async def test_a_quota_that_does_not_refill_ends_it(running: Running) -> None:
    _, key = new_key("team", requests_per_day=1)
    await running.ended(await running.submit(key=key))
    failed = await running.ended(await running.submit(key=key))
    assert failed.state == "failed"
    assert "requests_per_day" in failed.error


async def test_one_runs_and_a_few_wait(running: Running) -> None:
    running.backend.gate.clear()
    first = await running.submit()
    await running.until(first, lambda saved: saved.state == "running")
    waiting = [await running.submit() for _ in range(MAX_WAITING)]
    with pytest.raises(ConflictError, match="wait already"):
        await running.submit()
    assert running.service.position == {number: place for place, number in enumerate(waiting, start=1)}
    assert {running.store.get(number, None).state for number in waiting} == {"queued"}
    await running.service.cancel(waiting[0], None)
    assert running.store.get(waiting[0], None).state == "cancelled"
    running.backend.gate.set()
    states = [(await running.ended(number)).state for number in (first, *waiting)]
    assert states == ["done", "cancelled", *["done"] * (MAX_WAITING - 1)]


async def test_a_tenant_does_not_fill_the_queue(running: Running) -> None:
    running.backend.gate.clear()
    await running.until(await running.submit(), lambda saved: saved.state == "running")
    for _ in range(MAX_WAITING_OF_TENANT):
        await running.submit(tenant="acme")
    with pytest.raises(ConflictError, match="2 of them yours"):
        await running.submit(tenant="acme")
    await running.submit(tenant="other")


async def test_one_that_runs_is_cancelled_and_the_next_follows(running: Running) -> None:
    running.backend.gate.clear()
    first, second = await running.submit(), await running.submit()
    await running.until(first, lambda saved: saved.total)
    with pytest.raises(NotFoundError):
        await running.service.cancel(first, "another tenant")
    await running.service.cancel(first, None)
    running.backend.gate.set()
    assert (await running.ended(second)).state == "done"
    assert (await running.ended(first)).state == "cancelled"


async def test_one_that_was_ended_elsewhere_stops(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_service, "PROGRESS_SECONDS", 0)
    running.backend.gate.clear()
    first = await running.submit()
    await running.until(first, lambda saved: saved.total)
    assert running.store.end(first, "cancelled")  # by another instance
    running.backend.gate.set()
    second = await running.submit()
    assert (await running.ended(second)).state == "done"
    assert running.store.get(first, None).state == "cancelled"


async def test_closing_says_what_was_interrupted(tmp_path: Path) -> None:
    running = Running(tmp_path)
    running.backend.gate.clear()
    first, second = await running.submit(), await running.submit()
    await running.until(first, lambda saved: saved.total)
    await running.service.close()
    assert [running.store.get(number, None).state for number in (first, second)] == ["interrupted"] * 2
    await running.close()


async def test_a_model_that_fails_and_a_folder_that_is_broken_are_named(running: Running, tmp_path: Path) -> None:
    running.backend.always = True
    failed = await running.ended(await running.submit())
    assert failed.state == "failed"
    assert failed.error
    running.backend.always = False
    (tmp_path / "data" / "tiny" / "corpus.jsonl").unlink()
    failed = await running.ended(await running.submit())
    assert "corpus.jsonl is missing" in failed.error


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        (EvaluationPlan("folder", "data/tiny", (), 50, 100), InvalidRequestError),
        (EvaluationPlan("folder", "data/tiny", ("mini",) * 5, 50, 100), InvalidRequestError),
        (EvaluationPlan("folder", "data/tiny", ("nobody",), 50, 100), ModelNotFoundError),
        (EvaluationPlan("folder", "data/tiny", ("mini",), 0, 100), InvalidRequestError),
        (EvaluationPlan("folder", "data/tiny", ("mini", "other"), 200, 2000), InvalidRequestError),
        (EvaluationPlan("folder", "../tiny", ("mini",), 50, 100), NotFoundError),
    ],
)
async def test_plans_that_cannot_be_run_are_refused(
    plan: EvaluationPlan, error: type[Exception], running: Running
) -> None:
    with pytest.raises(error):
        await running.submit(plan)
    assert running.store.list(None) == []


async def test_others_go_first(running: Running) -> None:
    """A slice waits while the engine has requests of others, and the evaluation still ends."""
    async with running.pool.lease("mini") as model:
        running.backend.gate.clear()
        waiting = model.engine.probe()
        number = await running.submit()
        await running.until(number, lambda saved: saved.total)
        await asyncio.sleep(0.1)
        assert model.engine.queued_requests == 1, "the request of others alone"
        running.backend.gate.set()
        await asyncio.wrap_future(waiting.future)
    assert (await running.ended(number)).done == PAIRS


async def test_others_are_not_waited_for_without_end(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_run, "PATIENCE", 0.5)
    async with running.pool.lease("mini") as model:
        running.backend.gate.clear()
        waiting = model.engine.probe()
        number = await running.submit()
        await running.until(number, lambda _: model.engine.queued_requests == 2)
        running.backend.gate.set()
        await asyncio.wrap_future(waiting.future)
    assert (await running.ended(number)).state == "done"


def test_slices_are_as_long_as_they_should_be() -> None:
    size = SliceSize()
    for _ in range(20):
        size.learn(0.001 * size.pairs, 0.1)
    assert 50 <= size.pairs <= 100
    for _ in range(20):
        size.learn(60.0, 0.1)
    assert size.pairs == 1
    for _ in range(20):
        size.learn(0.0, 0.1)
    assert size.pairs == MAX_SLICE


async def test_scores_of_two_versions_are_not_mixed(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_run, "FIRST_SLICE", 2)
    dataset = open_dataset(running.service.datasets.folder("data/tiny").path)
    scorer = BackgroundScorer(Pipeline(running.pool), running.pool, running.quotas, None)
    async with running.pool.lease("mini") as model:

        async def replace(_: int) -> None:
            model.engine.version = "2"

        with pytest.raises(ConflictError, match="was replaced"):
            await rerank(dataset, "mini", scorer, replace)
