"""Job stores, queues and worker options, built from settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rerankd._common.paths import state_folder
from rerankd.errors import InvalidRequestError
from rerankd.jobs.options import StoreOptions, WorkerOptions
from rerankd.jobs.queue import JobQueue
from rerankd.jobs.redis_store import RedisStore
from rerankd.jobs.sqlite_store import SqliteStore
from rerankd.jobs.store import JobStore
from rerankd.settings import Settings


def open_job_store(settings: Settings) -> JobStore:
    """Open the job store: Redis if `queue_url` is set, a SQLite file otherwise.

    Raises:
        MissingDependencyError: the extra `queue` is not installed.
        InvalidRequestError: the file cannot be used, or `queue_url` is not a Redis URL.
    """
    options = StoreOptions(
        max_jobs=settings.max_jobs,
        max_bytes=int(settings.max_jobs_mb * 1_000_000),
        tenant_share=settings.max_jobs_share,
        retention_seconds=settings.job_seconds,
        attempts=settings.job_attempts,
        lease_seconds=settings.lease_seconds,
    )
    if settings.queue_url:
        return RedisStore(settings.queue_url, options)
    return SqliteStore(jobs_file(settings), options)


@contextmanager
def open_queue(settings: Settings) -> Iterator[JobQueue]:
    """Open the queue for a program that submits jobs and does not run them.

    Raises:
        MissingDependencyError: the extra `queue` is not installed.
        InvalidRequestError: the file cannot be used, or `queue_url` is not a Redis URL.
    """
    store = open_job_store(settings)
    try:
        yield JobQueue(store, open_notifier(settings), settings.webhook_secret, webhook_hosts=settings.webhook_hosts)
    finally:
        store.close()


def open_notifier(settings: Settings) -> Callable[[int], None]:
    """Return the function that wakes workers of the queue.

    It does nothing without `queue_url`: a service polls its own file.
    """
    if not settings.queue_url:
        return lambda parts: None
    from rerankd.jobs.wakeups import WorkerNotifier, make_celery

    return WorkerNotifier(make_celery(settings.queue_url)).notify_workers


def jobs_file(settings: Settings) -> Path:
    """Return the path of the SQLite file of the jobs that this process runs.

    Raises:
        InvalidRequestError: `jobs_path` is not set and the account has no home folder.
    """
    try:
        return Path(settings.jobs_path) if settings.jobs_path else state_folder() / "jobs.sqlite"
    except RuntimeError:
        raise InvalidRequestError("This account has no home folder to keep jobs in.", hint="Set jobs_path.") from None


def worker_options(settings: Settings, *, slots: int, bulk_slots: int) -> WorkerOptions:
    """Return the options of a worker with that many slots, of which `bulk_slots` may hold bulk parts."""
    return WorkerOptions(
        slots=slots,
        bulk_slots=bulk_slots,
        attempts=settings.job_attempts,
        lease_seconds=settings.lease_seconds,
        request_seconds=settings.job_request_seconds,
    )
