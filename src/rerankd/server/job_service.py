"""Jobs of one instance: sent to workers through Redis, or run in this process where there is no queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from rerankd._common.logging import logger
from rerankd._common.optional import require
from rerankd.errors import InvalidRequestError, RerankdError, UnavailableError
from rerankd.jobs.queue import JobQueue
from rerankd.jobs.store import QueueDepth
from rerankd.jobs.webhook import WebhookSender, sign
from rerankd.jobs.worker import JobWorker
from rerankd.pipeline.pipeline import Pipeline
from rerankd.server.auth.job_usage import JobUsage
from rerankd.server.auth.quotas import QuotaStore
from rerankd.server.store_calls import StoreCaller
from rerankd.settings import Settings
from rerankd.wiring.jobs import jobs_file, open_job_store, open_notifier, worker_options

SLOTS = 4
BULK_SLOTS = 2
DEPTH_SECONDS = 5.0

_log = logger(__name__)


class JobService:
    """Job queue of one instance, opened for the first job. Without Redis, a worker in this process runs the jobs.

    Args:
        settings: settings of the service.
        pipeline: ranks the requests of jobs that run in this process.
        quotas: store of the quotas that jobs are settled in.

    Raises:
        MissingDependencyError: `queue_url` is set and the extra `queue` is not installed.
        InvalidRequestError: the webhook secret cannot sign, or `queue_url` is not a Redis URL.
    """

    def __init__(self, settings: Settings, pipeline: Pipeline, quotas: QuotaStore) -> None:
        if settings.queue_url:
            require("celery", "queue", "The job queue")
            open_job_store(settings).close()  # checks the URL; nothing is contacted
        if settings.webhook_secret:
            sign(settings.webhook_secret, "", 0, b"")
        self._settings, self._pipeline = settings, pipeline
        self._opening = asyncio.Lock()
        self._queue: JobQueue | None = None
        self._worker: JobWorker | None = None
        self._depth_task: asyncio.Task[None] | None = None
        self._settling: set[asyncio.Task[None]] = set()
        self.usage = JobUsage(quotas)
        self.call = StoreCaller("job queue").call
        self.waiting = QueueDepth(0, 0)
        self.totals: dict[str, int] = {}

    async def start(self) -> None:
        """Resume jobs that an earlier process left; watch the queue, if there is one."""
        try:
            if self._settings.queue_url or jobs_file(self._settings).exists():
                await self.queue()
        except (RerankdError, OSError) as error:
            _log.warning("Earlier jobs are not resumed: %s", error)

    async def queue(self) -> JobQueue:
        """Return the job queue.

        Raises:
            UnavailableError: the job file cannot be used.
        """
        async with self._opening:
            if self._queue is None:
                try:
                    self._queue = await self._open()
                except InvalidRequestError as error:  # a fault of the deployment, not of the request
                    _log.error("%s", error)
                    raise UnavailableError(
                        "This service cannot store jobs.", hint="Synchronous ranking still works.", retry_after=60
                    ) from error
                loop = asyncio.get_running_loop()
                self._queue.store.subscribe(partial(_call_soon, loop, self._job_ended))
                self._depth_task = asyncio.create_task(self._poll_depth())
            return self._queue

    async def _open(self) -> JobQueue:
        settings = self._settings
        store = await self.call(open_job_store, settings)
        limit, hosts = settings.max_jobs_mb * 1_000_000, settings.webhook_hosts
        if settings.queue_url:
            notifier = await self.call(open_notifier, settings)
            return JobQueue(store, notifier, settings.webhook_secret, limit, hosts)
        webhooks = WebhookSender(store, settings.webhook_secret, hosts)
        options = worker_options(settings, slots=SLOTS, bulk_slots=BULK_SLOTS)
        worker = self._worker = JobWorker(self._pipeline, store, webhooks, options)
        worker.start()
        loop = asyncio.get_running_loop()
        notify = partial(_wake, loop, worker.fill_slots)
        return JobQueue(store, notify, settings.webhook_secret, limit, hosts)

    def _job_ended(self, job_id: str) -> None:
        task = asyncio.create_task(self._settle(job_id))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, job_id: str) -> None:
        if self._queue is None:
            return
        store = self._queue.store
        with contextlib.suppress(RerankdError):
            job = await self.call(store.get, job_id)
            if job is not None and job.final:
                await self.usage.settle(job, await self.call(store.interrupted_requests, job_id))

    async def _poll_depth(self) -> None:
        """Poll the queue depth for the metrics, in the background, since Redis may be slow."""
        while self._queue is not None:
            with contextlib.suppress(RerankdError):
                self.waiting = await self.call(self._queue.store.queue_depth)
                self.totals = await self.call(self._queue.store.totals)
            await asyncio.sleep(DEPTH_SECONDS)

    async def close(self, seconds: float) -> None:
        """Stop the worker; what is not finished in time is kept for the next process."""
        if self._depth_task:
            self._depth_task.cancel()
        if self._worker:
            await self._worker.close(seconds)
        await asyncio.gather(*self._settling, return_exceptions=True)
        if self._queue:
            await asyncio.to_thread(self._queue.store.close)


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[str], None], job_id: str) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(callback, job_id)


def _wake(loop: asyncio.AbstractEventLoop, fill_slots: Callable[[int], None], parts: int) -> None:
    loop.call_soon_threadsafe(fill_slots, parts)
