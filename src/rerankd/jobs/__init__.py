"""Asynchronous jobs: submission, stores, workers and webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.jobs.job import Job
    from rerankd.jobs.options import StoreOptions, WorkerOptions
    from rerankd.jobs.queue import JobQueue
    from rerankd.jobs.redis_store import RedisStore
    from rerankd.jobs.results import result_rows
    from rerankd.jobs.sqlite_store import SqliteStore
    from rerankd.jobs.store import JobStore
    from rerankd.jobs.webhook import WebhookSender
    from rerankd.jobs.work import RankWork, ScoreWork
    from rerankd.jobs.worker import JobWorker

__all__ = [
    "Job",
    "JobQueue",
    "JobStore",
    "JobWorker",
    "RankWork",
    "RedisStore",
    "ScoreWork",
    "SqliteStore",
    "StoreOptions",
    "WebhookSender",
    "WorkerOptions",
    "result_rows",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.jobs.job": ("Job",),
        "rerankd.jobs.options": ("StoreOptions", "WorkerOptions"),
        "rerankd.jobs.queue": ("JobQueue",),
        "rerankd.jobs.redis_store": ("RedisStore",),
        "rerankd.jobs.results": ("result_rows",),
        "rerankd.jobs.sqlite_store": ("SqliteStore",),
        "rerankd.jobs.store": ("JobStore",),
        "rerankd.jobs.webhook": ("WebhookSender",),
        "rerankd.jobs.work": ("RankWork", "ScoreWork"),
        "rerankd.jobs.worker": ("JobWorker",),
    },
)
