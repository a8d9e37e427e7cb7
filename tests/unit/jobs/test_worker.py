from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from rerankd.errors import OverloadedError
from rerankd.jobs.job import Job, NewJob, Part, new_id
from rerankd.jobs.results import result_rows
from rerankd.jobs.sqlite_store import SqliteStore
from rerankd.jobs.webhook import event_body
from rerankd.pipeline.pipeline import Pipeline
from rerankd.types import Document, RerankRequest
from tests.faults import ScriptedBackend, token_id
from tests.unit.jobs.scripted_worker import new_job, ranking, scoring, working

pytestmark = pytest.mark.slow


def stands(store: SqliteStore, job: str) -> Job:
    stored = store.get(job)
    assert stored
    return stored


def rows(store: SqliteStore, job: str) -> list[dict[str, object] | None]:
    return list(result_rows(store.results(job)))


async def entered(backend: ScriptedBackend) -> None:
    """Wait until the backend is asked."""
    assert await asyncio.to_thread(backend.entered.acquire, True, 10)


async def test_a_job_has_the_results_of_the_same_requests(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    async with working(backend, tmp_path) as (store, worker):
        job, _ = store.create(new_job(ranking("a", "b b", "c"), scoring("a", "b b"), ranking("c")))
        assert not await worker.work_until()
        first, second, third = rows(store, job.id)
        assert first
        assert second
        assert third
        results = first["results"]
        assert isinstance(results, list)
        assert [row["raw_score"] for row in results] == sorted((row["raw_score"] for row in results), reverse=True)
        by_index = {row["index"]: row["raw_score"] for row in results}
        assert second["scores"] == [[by_index[0], by_index[1]]]
        assert (third["model"], stands(store, job.id).state) == ("mini", "succeeded")


async def test_a_long_list_is_ranked_whole_though_it_is_scored_in_slices(tmp_path: Path) -> None:
    async with working(ScriptedBackend(), tmp_path) as (store, worker):
        job, _ = store.create(new_job(ranking(*(f"text {n}" for n in range(600)))))
        await worker.work_until()
        (row,) = rows(store, job.id)
        assert row
        results = row["results"]
        assert isinstance(results, list)
        assert sorted(one["index"] for one in results) == list(range(600))
        scores = [one["raw_score"] for one in results]
        assert scores == sorted(scores, reverse=True)
        assert row["usage"] == {"pairs": 600, "tokens": pytest.approx(600 * 12, rel=0.5), "truncated": 0}


async def test_what_is_wrong_with_one_request_is_its_own(tmp_path: Path) -> None:
    async with working(ScriptedBackend(), tmp_path) as (store, worker):
        long = ranking("a")
        too_long = RerankRequest("q", [Document("a")], truncation=type(long.request.truncation)(max_length=10**6))
        job, _ = store.create(new_job(ranking("a"), type(long)(too_long)))
        await worker.work_until()
        good, bad = rows(store, job.id)
        assert good
        assert bad
        assert "results" in good
        assert "max_length" in str(bad["error"])
        finished = stands(store, job.id)
        assert (finished.state, finished.done, finished.failed, store.dead_letters()) == ("failed", 1, 1, [])
        assert finished.error.startswith("A request failed: ")
        assert "max_length" in finished.error
        assert finished.computed > 0
        assert finished.error in event_body(finished).decode()


async def test_a_poisonous_request_has_its_attempts_and_takes_no_other_with_it(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    backend.poison = token_id("bear")
    async with working(backend, tmp_path) as (store, worker):
        job, _ = store.create(new_job(ranking("dog"), ranking("bear"), ranking("cat")))
        await worker.work_until()
        assert stands(store, job.id).state == "running"
        store._clock = lambda: 4e9  # the pause is over
        await worker.work_until()
        first, second, third = rows(store, job.id)
        assert first
        assert second
        assert third
        assert "results" in first
        assert "results" in third
        assert "secret internals" not in orjson.dumps(second).decode()
        finished = stands(store, job.id)
        assert (finished.state, finished.done, finished.failed) == ("failed", 2, 1)
        assert [dead.id for dead in store.dead_letters()] == [job.id]
        assert finished.error
        backend.poison = None
        assert store.retry(job.id)
        await worker.work_until()
        assert stands(store, job.id).state == "succeeded"


async def test_a_cancelled_job_stops_within_the_batch_that_runs(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    async with working(backend, tmp_path) as (store, worker):
        worker.start()
        backend.gate.clear()
        job, _ = store.create(new_job(ranking(*(f"text {n}" for n in range(2000)))))
        turn = asyncio.create_task(worker.work_until())
        await entered(backend)
        assert store.cancel(job.id)
        async with asyncio.timeout(10):
            await turn
        before = len(backend.calls)
        backend.gate.set()
        other, _ = store.create(new_job(scoring("alone")))
        await worker.work_until()
        assert stands(store, other.id).state == "succeeded"
        assert len(backend.calls) <= before + 2  # the one that was prepared, and the other job's
        assert sum(map(len, backend.calls)) < 2000
        assert stands(store, job.id).state == "cancelled"


async def test_an_expired_deadline_never_runs(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    async with working(backend, tmp_path) as (store, worker):
        job, _ = store.create(new_job(ranking("a"), timeout=1e-6))
        await worker.work_until()
        assert (stands(store, job.id).state, backend.calls) == ("expired", [])


async def test_a_deadline_ends_what_runs(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    async with working(backend, tmp_path) as (store, worker):
        backend.gate.clear()
        job, _ = store.create(new_job(ranking("a"), timeout=0.2))
        async with asyncio.timeout(10):
            await worker.work_until()
        assert stands(store, job.id).state == "expired"


async def test_a_part_that_cannot_be_read_is_given_up(tmp_path: Path) -> None:
    async with working(ScriptedBackend(), tmp_path) as (store, worker):
        job, _ = store.create(NewJob(new_id(), [Part(b"[{}, {}]", 2)]))
        await worker.work_until()
        store._clock = lambda: time.time() + 3600
        await worker.work_until()
        finished = stands(store, job.id)
        assert (finished.state, finished.failed, finished.error) == ("failed", 2, "The part could not be decoded.")
        assert [row and "error" in row for row in rows(store, job.id)] == [True, True]


async def test_a_request_that_hangs_is_a_failure(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    async with working(backend, tmp_path, request_seconds=0.05) as (store, worker):
        backend.gate.clear()
        job, _ = store.create(new_job(scoring("a")))
        await worker.work_until()
        assert stands(store, job.id).state == "running"
        store._clock = lambda: time.time() + 3600
        await worker.work_until()
        assert (stands(store, job.id).state, stands(store, job.id).failed) == ("failed", 1)


async def test_a_full_queue_is_waited_for_and_costs_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, requests = Pipeline.score, list[RerankRequest]()

    async def busy(pipeline: Pipeline, groups: Any, request: RerankRequest) -> Any:
        requests.append(request)
        if len(requests) < 6:
            raise OverloadedError("The queue is full.", retry_after=0.001)
        return await real(pipeline, groups, request)

    monkeypatch.setattr(Pipeline, "score", busy)
    async with working(ScriptedBackend(), tmp_path) as (store, worker):
        job, _ = store.create(new_job(scoring("a"), priority="bulk"))
        await worker.work_until()
        assert stands(store, job.id).state == "succeeded"
    assert len({request.retry_key for request in requests}) == 1  # who comes again as told has its place
    assert all(request.background for request in requests)


async def test_bulk_leaves_slots_to_interactive_jobs(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    async with working(backend, tmp_path, slots=3, bulk_slots=1) as (store, worker):
        backend.gate.clear()
        bulk, _ = store.create(new_job(scoring("a"), scoring("b"), priority="bulk", requests=1))
        first = asyncio.create_task(worker.work_until())
        await entered(backend)
        assert not await worker.work_until()  # a second bulk part is not taken
        urgent, _ = store.create(new_job(scoring("c")))
        second = asyncio.create_task(worker.work_until())
        while worker.running < 2:
            await asyncio.sleep(0)
        backend.gate.set()
        await asyncio.gather(first, second)
        assert stands(store, urgent.id).state == stands(store, bulk.id).state == "succeeded"


async def test_small_parts_are_computed_together_however_few_turns_were_asked_for(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    async with working(backend, tmp_path, slots=3) as (store, worker):
        backend.gate.clear()
        jobs = [store.create(new_job(scoring(text)))[0] for text in ("a", "b", "c", "d")]
        worker.fill_slots(1)
        while worker.running < 3:
            await asyncio.sleep(0)
        backend.gate.set()
        while not all(stands(store, job.id).final for job in jobs):
            await asyncio.sleep(0.001)


async def test_a_large_part_leaves_the_others_to_other_workers(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    async with working(backend, tmp_path, slots=3) as (store, worker):
        backend.gate.clear()
        for _ in range(2):
            store.create(new_job(scoring("long " * 30_000)))
        worker.fill_slots(1)
        await entered(backend)
        assert (worker.running, store.queue_depth().interactive) == (1, 1)


async def test_a_part_that_is_lost_to_another_worker_is_dropped(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    async with working(backend, tmp_path) as (store, worker):
        backend.gate.clear()
        job, _ = store.create(new_job(scoring("a")))
        turn = asyncio.create_task(worker.work_until())
        await entered(backend)
        clock, store._clock = store._clock, lambda: clock() + 1000
        assert store.reap_expired_leases() == 1
        other = store.claim()
        assert other
        await worker._renew()
        await turn
        assert stands(store, job.id).state == "running"
        assert store.finish(other, b"[{}]", 1, 0)


async def test_at_the_end_unfinished_parts_go_back(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    async with working(backend, tmp_path) as (store, worker):
        backend.gate.clear()
        job, _ = store.create(new_job(scoring("a")))
        turn = asyncio.create_task(worker.work_until())
        await entered(backend)
        await worker.close(0.0)
        assert not await turn
        assert stands(store, job.id).state == "running"
        claim = store.claim()
        assert claim
        assert claim.attempt == 1  # ending in order is no failure
        assert not await worker.work_until()


async def test_it_wakes_by_itself_for_what_waits(tmp_path: Path) -> None:
    async with working(ScriptedBackend(), tmp_path) as (store, worker):
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hear(_: str) -> None:
            loop.call_soon_threadsafe(ended.set)

        store.subscribe(hear)
        job, _ = store.create(new_job(scoring("a")))
        worker.start()
        async with asyncio.timeout(10):
            await ended.wait()
        assert stands(store, job.id).state == "succeeded"
