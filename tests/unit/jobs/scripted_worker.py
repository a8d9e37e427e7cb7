"""A pipeline on a backend that misbehaves as told, and a worker on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rerankd.engine.engine import Engine, EngineOptions
from rerankd.engine.pool import ModelPool
from rerankd.jobs.job import NewJob, Priority, new_id
from rerankd.jobs.options import StoreOptions, WorkerOptions
from rerankd.jobs.sqlite_store import SqliteStore
from rerankd.jobs.webhook import WebhookSender
from rerankd.jobs.work import RankWork, ScoreWork, Work, split_work
from rerankd.jobs.worker import JobWorker
from rerankd.models.files import ModelFiles, load_model
from rerankd.pipeline.pipeline import Pipeline
from rerankd.scoring.encoder import TruncationOptions
from rerankd.types import Document, RerankRequest
from tests.faults import ScriptedBackend, scripted_scorer

OPTIONS = StoreOptions(attempts=2)


class ScriptedLoader:
    """Opens engines on one backend."""

    def __init__(self, backend: ScriptedBackend) -> None:
        self._backend = backend

    def find(self, reference: str) -> ModelFiles:
        return load_model(reference)

    def open(self, name: str, files: ModelFiles) -> tuple[Engine, TruncationOptions]:
        engine = Engine(name, "1", scripted_scorer(self._backend, files), EngineOptions(max_queue_seconds=86_400))
        engine.warm_up()  # a cold engine takes one request at a time
        self._backend.calls.clear()
        while self._backend.entered.acquire(blocking=False):
            pass
        return engine, TruncationOptions(64)


@asynccontextmanager
async def working(
    backend: ScriptedBackend, folder: Path, *, slots: int = 4, bulk_slots: int = 2, request_seconds: float = 60.0
) -> AsyncIterator[tuple[SqliteStore, JobWorker]]:
    """Return a store and a worker that is not started: turns are taken by hand."""
    pool = ModelPool("mini", {"mini": "mini"}, ScriptedLoader(backend), close_seconds=5)
    async with pool.lease("mini"):
        pass
    store = SqliteStore(folder / "jobs.sqlite", OPTIONS)
    webhooks = WebhookSender(store, None)
    options = WorkerOptions(slots, bulk_slots, OPTIONS.attempts, OPTIONS.lease_seconds, request_seconds)
    worker = JobWorker(Pipeline(pool), store, webhooks, options)
    try:
        yield store, worker
    finally:
        backend.gate.set()
        await worker.close(5)
        await pool.close()
        store.close()


def ranking(*texts: str, query: str = "q") -> RankWork:
    """Return a ranking of texts."""
    return RankWork(RerankRequest(query, [Document(text) for text in texts]))


def scoring(*texts: str) -> ScoreWork:
    """Pairs of one query."""
    return ScoreWork([("q", texts)])


def new_job(
    *work: Work, tenant: str = "", priority: Priority = "interactive", timeout: float | None = None, requests: int = 64
) -> NewJob:
    """Return a job of so many requests a part."""
    return NewJob(new_id(), list(split_work(work, requests=requests)), tenant, priority, timeout)
