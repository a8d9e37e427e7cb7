"""Worker of a job store: claims parts, has them scored, and reports the results. Lives in one event loop.

A Celery worker wakes it for each message from Redis; a service without a queue wakes it when a job is submitted. It
also polls the store every second, so a wake-up that is lost costs a second and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson

from rerankd._common.backoff import Backoff
from rerankd._common.logging import logger
from rerankd.errors import DeadlineExceededError, OverloadedError, RetryableError, UnavailableError
from rerankd.jobs.job import Claim
from rerankd.jobs.options import WorkerOptions
from rerankd.jobs.part_runner import PartRunner, PartScores
from rerankd.jobs.store import JobStore
from rerankd.jobs.webhook import WebhookSender
from rerankd.pipeline.pipeline import Pipeline

SLOT_SECONDS = 10.0
MAINTENANCE_SECONDS = 1.0
REPORT_SECONDS = 600.0
# Payload bytes in progress below which the engine has room for more work in its batches.
LOW_WATER_BYTES = 131_072
UNDECODABLE = b'{"error":{"code":"internal_error","message":"The part could not be decoded."}}'
REQUEUE = Backoff(attempts=None, first=2.0, longest=60.0)
REPORT = Backoff(attempts=None, first=0.1, longest=5.0)

_log = logger(__name__)
T = TypeVar("T")


class JobWorker:
    """Works the jobs of a store. Made in the event loop that it runs in.

    Args:
        pipeline: pipeline that scores.
        store: store of the jobs.
        webhooks: sender of their webhooks; the worker closes it.
        options: concurrency and limits.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        store: JobStore,
        webhooks: WebhookSender,
        options: WorkerOptions | None = None,
    ) -> None:
        self._store, self._webhooks, self._options = store, webhooks, options or WorkerOptions()
        self._runner = PartRunner(
            pipeline, attempts=self._options.attempts, request_seconds=self._options.request_seconds
        )
        # Four threads more than slots, so that renewing leases never waits for a thread.
        self._threads = ThreadPoolExecutor(self._options.slots + 4, thread_name_prefix="jobs")
        self._running: dict[str, tuple[Claim, asyncio.Task[PartScores]]] = {}
        self._busy_slots: set[asyncio.Task[Any]] = set()
        self._started: set[asyncio.Task[None]] = set()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._bulk_parts = 0
        self._bulk_claims = 0
        self._closing = False
        self._unsubscribe: Callable[[], None] = lambda: None
        self._maintenance: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def running(self) -> int:
        """Number of parts in progress."""
        return len(self._running)

    def start(self) -> None:
        """Start to renew leases, reap expired ones, deliver webhooks and poll the store."""
        self._unsubscribe = self._store.subscribe(self._on_job_end)
        self._maintenance = asyncio.create_task(self._maintain())

    async def close(self, seconds: float) -> None:
        """Claim nothing more, wait for the parts in progress, and release the others to other workers.

        Args:
            seconds: longest time to wait.
        """
        self._closing = True
        if self._maintenance:
            self._maintenance.cancel()
            await asyncio.gather(self._maintenance, return_exceptions=True)
        if self._busy_slots:
            _, late = await asyncio.wait(self._busy_slots, timeout=seconds)
            for claim, task in list(self._running.values()):
                task.cancel()
                with contextlib.suppress(UnavailableError):
                    await self._in_thread(self._store.requeue, claim, 0.0, count_attempt=False)
            if late:
                await asyncio.wait(late)
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        await asyncio.to_thread(self._unsubscribe)
        self._threads.shutdown(wait=False)
        await self._webhooks.close()

    def fill_slots(self, parts: int) -> None:
        """Start a slot for each of that many parts, as far as slots are free."""
        for _ in range(min(parts, self._options.slots - len(self._busy_slots))):
            task = asyncio.create_task(self._drain())
            self._started.add(task)
            task.add_done_callback(self._started.discard)

    async def _drain(self) -> None:
        while await self.work_until():
            pass

    async def work_until(self, deadline: float | None = None) -> bool:
        """Work parts in one slot until none is left or the deadline has passed.

        Args:
            deadline: time of `time.monotonic()` after which no part is claimed; None for `SLOT_SECONDS` from now, so
                that a Celery thread returns to its broker now and then.

        Returns:
            True if there may be more parts.
        """
        slot = asyncio.current_task()
        if slot is None or self._closing or len(self._busy_slots) >= self._options.slots:
            return False
        self._busy_slots.add(slot)
        try:
            return await self._work_parts(time.monotonic() + SLOT_SECONDS if deadline is None else deadline)
        except UnavailableError as error:
            _log.debug("no part could be claimed: %s", error.message)
            return False
        finally:
            self._busy_slots.discard(slot)

    async def _work_parts(self, deadline: float) -> bool:
        while not self._closing and time.monotonic() < deadline:
            claim = await self._claim()
            if claim is None:
                return False
            try:
                if len(claim.payload) + self._bytes_running < LOW_WATER_BYTES:
                    self.fill_slots(1)  # little work: claim more at once, to be computed in the same batches
                await self._work(claim)
            finally:
                self._bulk_parts -= claim.priority == "bulk"
        return not self._closing

    @property
    def _bytes_running(self) -> int:
        return sum(len(claim.payload) for claim, _ in self._running.values())

    async def _claim(self) -> Claim | None:
        """Claim a part. A bulk slot is reserved while the store is asked, so that concurrent claims do not overbook.

        Bulk parts are claimed only while the engine has room: the others stay in the store, where other workers and
        interactive jobs that come later find them waiting and not leased.
        """
        bulk = (
            self._bulk_parts < self._options.bulk_slots
            and not self._bulk_claims
            and self._bytes_running < LOW_WATER_BYTES
        )
        self._bulk_parts += bulk
        self._bulk_claims += bulk
        claim: Claim | None = None
        try:
            claim = await self._in_thread(self._store.claim, bulk=bulk)
        finally:
            self._bulk_claims -= bulk
            self._bulk_parts -= bulk and not (claim and claim.priority == "bulk")
        return claim

    async def _work(self, claim: Claim) -> None:
        """Score a part and report the result or the failure to the store."""
        task = asyncio.create_task(self._runner.run(claim))
        self._running[claim.token] = (claim, task)
        try:
            await asyncio.wait({task})
            await self._report(claim, task)
        finally:
            del self._running[claim.token]

    async def _report(self, claim: Claim, task: asyncio.Task[PartScores]) -> None:
        if task.cancelled():  # the job has ended, or the lease is another worker's now
            return
        error = task.exception()
        if error is None:
            await self._report_rows(claim, task.result())
        elif isinstance(error, DeadlineExceededError):
            await self._retry_until_done(self._store.expire, claim.job)
        else:
            await self._report_failure(claim, error)

    async def _report_rows(self, claim: Claim, scores: PartScores) -> None:
        rows = scores.rows
        failed = sum("error" in row for row in rows)
        dead_letter = next((row["error"]["message"] for row in rows if row.get("error", {}).get("lost")), "")
        reason = next((row["error"]["message"] for row in rows if "error" in row), "")
        await self._retry_until_done(
            self._store.finish,
            claim,
            orjson.dumps(rows),
            done=len(rows) - failed,
            failed=failed,
            error=dead_letter,
            reason=f"A request failed: {reason}" if reason else "",
            computed=scores.computed_tokens,
        )

    async def _report_failure(self, claim: Claim, error: BaseException) -> None:
        overloaded = isinstance(error, OverloadedError)  # backpressure is not a fault of the part
        if not overloaded:
            _log.warning("part %d of %s failed, attempt %d", claim.part, claim.job, claim.attempt, exc_info=error)
        if overloaded or claim.attempt < self._options.attempts:
            pause = error.retry_after if isinstance(error, RetryableError) else REQUEUE.pause(claim.attempt)
            await self._retry_until_done(self._store.requeue, claim, pause, count_attempt=not overloaded)
        else:  # in the last attempt a request that fails has an error row, so the payload itself is unreadable
            message = "The part could not be decoded."
            await self._retry_until_done(
                self._store.finish, claim, UNDECODABLE, done=0, failed=claim.requests, error=message
            )

    def _on_job_end(self, job_id: str) -> None:
        """Stop the parts of a job that has ended; called from any thread."""
        self._loop.call_soon_threadsafe(self._cancel_parts, job_id)

    def _cancel_parts(self, job_id: str) -> None:
        for claim, task in list(self._running.values()):
            if claim.job == job_id:
                task.cancel()

    async def _maintain(self) -> None:
        unreachable = False
        while True:
            try:
                await self._renew()
                await self._in_thread(self._store.reap_expired_leases)
                await self._deliver_webhooks()
                await self._poll()
            except UnavailableError as error:
                if not unreachable:
                    _log.warning("%s Retrying every second.", error.message)
                unreachable = True
            except Exception:
                _log.exception("maintenance of jobs failed")
            else:
                if unreachable:
                    _log.info("The job queue can be reached again.")
                unreachable = False
            # At least four renewals fit into one lease, so that one lost answer does not cost it.
            await asyncio.sleep(min(MAINTENANCE_SECONDS, self._options.lease_seconds / 4))

    async def _renew(self) -> None:
        running = list(self._running.values())
        if not running:
            return
        renewed = await self._in_thread(self._store.renew, [claim for claim, _ in running])
        for (_, task), is_held in zip(running, renewed, strict=True):
            if not is_held:
                task.cancel()

    async def _deliver_webhooks(self) -> None:
        for delivery in await self._in_thread(self._store.due_deliveries):
            task = asyncio.create_task(self._webhooks.deliver(delivery))
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)

    async def _poll(self) -> None:
        depth = await self._in_thread(self._store.queue_depth)
        bulk = max(0, min(depth.bulk, self._options.bulk_slots - self._bulk_parts))
        self.fill_slots(depth.interactive + bulk)

    async def _in_thread(self, method: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a method of the store, which blocks, in a thread."""
        return await self._loop.run_in_executor(self._threads, lambda: method(*args, **kwargs))

    async def _retry_until_done(self, method: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call a method of the store until it can be reached; a result that is lost after that is computed again."""
        deadline = time.monotonic() + REPORT_SECONDS
        for pause in REPORT.pauses():
            try:
                await self._in_thread(method, *args, **kwargs)
            except UnavailableError as error:
                if time.monotonic() > deadline or self._closing:
                    _log.error("a result could not be reported: %s", error.message)
                    return
                await asyncio.sleep(pause)
            else:
                return
