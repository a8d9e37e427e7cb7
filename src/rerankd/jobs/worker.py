"""Works jobs: claims parts, scores them on one pipeline, hands the results in. Lives in one event loop.

Who wakes it differs: a Celery worker does so for each ticket that Redis delivers, a service without a queue when a job
comes in. Everything else, also what happens when something fails, is here once.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import orjson

from rerankd._common.logging import logger
from rerankd.engine.request import QueryGroup
from rerankd.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    RerankdError,
    RetryableError,
    UnavailableError,
)
from rerankd.jobs.job import Claim
from rerankd.jobs.store import JobStore
from rerankd.jobs.webhook import WebhookSender
from rerankd.jobs.work import RankWork, ScoreWork, Work, decode_work
from rerankd.pipeline.pipeline import Pipeline
from rerankd.pipeline.scores import ModelScores
from rerankd.ranking.order import usage_of
from rerankd.types import RankedDocument, RerankRequest

SLICE_DOCUMENTS = 256
REQUESTS_AT_ONCE = 8
FILLING_BYTES = 131_072
UPKEEP_SECONDS = 1.0
TURN_SECONDS = 10.0
BACKOFF_SECONDS = 1.0
INSIST_SECONDS = 600.0
UNREADABLE = b'{"error":{"code":"internal_error","message":"It could not be read."}}'

_log = logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How much a worker does at once.

    Attributes:
        slots: parts at once.
        bulk_slots: parts of bulk jobs at once; the rest is kept for interactive ones.
        attempts: how often a failing part is tried.
        lease_seconds: of the store.
        request_seconds: what a request of a part may take before that counts as a failure.
    """

    slots: int = 16
    bulk_slots: int = 8
    attempts: int = 3
    lease_seconds: float = 30.0
    request_seconds: float = 900.0


class JobWorker:
    """Works the jobs of a store.

    Args:
        pipeline: what scores.
        store: where the jobs are.
        webhooks: tells of their end.
        options: how much at once.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        store: JobStore,
        webhooks: WebhookSender,
        options: WorkerOptions | None = None,
    ) -> None:
        self._pipeline, self._store, self._webhooks = pipeline, store, webhooks
        self._options = options or WorkerOptions()
        self._threads = ThreadPoolExecutor(self._options.slots + 4, thread_name_prefix="jobs")
        self._running: dict[str, tuple[Claim, asyncio.Task[list[Any]]]] = {}
        self._turns: set[asyncio.Task[Any]] = set()
        self._begun: set[asyncio.Task[None]] = set()
        self._announcing: set[asyncio.Task[None]] = set()
        self._bulk = 0
        self._asking = 0
        self._closing = False
        self._unwatch: Callable[[], None] = lambda: None
        self._upkeep: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def running(self) -> int:
        """Parts that are being worked."""
        return len(self._running)

    def start(self) -> None:
        """Begin to look after leases, deadlines and announcements, and to take what waits."""
        self._unwatch = self._store.subscribe(self._ended)
        self._upkeep = asyncio.create_task(self._look_after())

    async def close(self, seconds: float) -> None:
        """Take nothing more; what is not done in so many seconds goes back, for another worker."""
        self._closing = True
        if self._upkeep:
            self._upkeep.cancel()
            await asyncio.gather(self._upkeep, return_exceptions=True)
        if self._turns:
            _, late = await asyncio.wait(self._turns, timeout=seconds)
            for claim, task in list(self._running.values()):
                task.cancel()
                with contextlib.suppress(UnavailableError):
                    await self._call(self._store.requeue, claim, 0.0, count_attempt=False)
            if late:
                await asyncio.wait(late)
        await asyncio.gather(*self._announcing, return_exceptions=True)
        await asyncio.to_thread(self._unwatch)
        self._threads.shutdown(wait=False)
        await self._webhooks.close()

    def fill_slots(self, parts: int) -> None:
        """Take turns for so many parts, as far as there is room."""
        for _ in range(min(parts, self._options.slots - len(self._turns))):
            task = asyncio.create_task(self._turns_to_the_end())
            self._begun.add(task)
            task.add_done_callback(self._begun.discard)

    async def _turns_to_the_end(self) -> None:
        while await self.work_until():
            pass

    async def work_until(self) -> bool:
        """Work parts until none is left or the turn is over; whether there may be more."""
        task = asyncio.current_task()
        if task is None or self._closing or len(self._turns) >= self._options.slots:
            return False
        self._turns.add(task)
        try:
            return await self._work_parts(time.monotonic() + TURN_SECONDS)
        except UnavailableError as error:
            _log.debug("no part could be taken: %s", error.message)
            return False
        finally:
            self._turns.discard(task)

    async def _work_parts(self, until: float) -> bool:
        while not self._closing and time.monotonic() < until:
            claim = await self._claim()
            if claim is None:
                return False
            try:
                if len(claim.payload) + self._bytes < FILLING_BYTES:
                    self.fill_slots(1)  # little work: look at once what else there is to compute together with it
                await self._work(claim)
            finally:
                self._bulk -= claim.priority == "bulk"
        return not self._closing

    @property
    def _bytes(self) -> int:
        """Texts of the parts that are being worked."""
        return sum(len(claim.payload) for claim, _ in self._running.values())

    async def _claim(self) -> Claim | None:
        """Take a part; the slot of a bulk one is kept while the store is asked, so that turns do not overbook.

        Of bulk work no more than keeps the engine busy: the rest is for other workers, and for this one's later turns.
        """
        bulk = self._bulk < self._options.bulk_slots and not self._asking and self._bytes < FILLING_BYTES
        self._bulk += bulk
        self._asking += bulk
        claim: Claim | None = None
        try:
            claim = await self._call(self._store.claim, bulk=bulk)
        finally:
            self._asking -= bulk
            self._bulk -= bulk and not (claim and claim.priority == "bulk")
        return claim

    async def _work(self, claim: Claim) -> None:
        """Compute a part and hand in what came of it, or why nothing did."""
        task = asyncio.create_task(self._rows(claim))
        self._running[claim.token] = (claim, task)
        try:
            await asyncio.wait({task})
            await self._hand_in(claim, task)
        finally:
            del self._running[claim.token]

    async def _hand_in(self, claim: Claim, task: asyncio.Task[list[Any]]) -> None:
        if task.cancelled():  # the job has ended, or the part is another worker's now
            return
        error = _cause(task.exception())
        if error is None:
            rows = task.result()
            failed = sum("error" in row for row in rows)
            lost = next((row["error"]["message"] for row in rows if row.get("error", {}).get("lost")), "")
            await self._retry_until_done(
                self._store.finish, claim, orjson.dumps(rows), len(rows) - failed, failed, lost
            )
        elif isinstance(error, DeadlineExceededError):
            await self._retry_until_done(self._store.expire, claim.job)
        else:
            busy = isinstance(error, OverloadedError)
            pause = error.retry_after if isinstance(error, RetryableError) else BACKOFF_SECONDS * 2**claim.attempt
            if not busy:
                _log.warning("part %d of %s failed, attempt %d", claim.part, claim.job, claim.attempt, exc_info=error)
            if busy or claim.attempt < self._options.attempts:
                await self._retry_until_done(self._store.requeue, claim, pause, count_attempt=not busy)
            else:  # nothing of it could be read
                await self._retry_until_done(
                    self._store.finish, claim, UNREADABLE, 0, claim.requests, "It could not be read."
                )

    async def _rows(self, claim: Claim) -> list[Any]:
        """One row for each request: its result, or its error if that is the request's own or this the last attempt."""
        room = asyncio.Semaphore(REQUESTS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._row(claim, work, f"{claim.job}.{claim.part}.{place}", room))
                for place, work in enumerate(decode_work(claim.payload))
            ]
        return [task.result() for task in tasks]

    async def _row(self, claim: Claim, work: Work, name: str, room: asyncio.Semaphore) -> dict[str, Any]:
        async with room:
            try:
                async with asyncio.timeout(self._options.request_seconds):
                    return await self._result(claim, work, name)
            except (InvalidRequestError, ModelNotFoundError) as error:
                return _error_row(error)
            except (DeadlineExceededError, OverloadedError):
                raise
            except Exception as error:
                if claim.attempt < self._options.attempts:
                    raise
                _log.exception("a request of %s had its attempts", claim.job, exc_info=error)
                known = error if isinstance(error, RerankdError) else RerankdError("Something went wrong.")
                return _error_row(known, lost=True)

    async def _result(self, claim: Claim, work: Work, name: str) -> dict[str, Any]:
        if isinstance(work, ScoreWork):
            return await self._scored(claim, work)
        request = replace(work.request, request_id=name, tenant=claim.owner, source="job")
        rules, pieces = self._pipeline.rules, list[ModelScores]()
        texts = [document.text for document in request.documents]
        query = rules.expanded(request.query, request.tenant)
        for start in range(0, len(texts), SLICE_DOCUMENTS):  # so that a long list is no longer in others' way
            pieces.append(await self._score([(query, texts[start : start + SLICE_DOCUMENTS])], claim, request))
        result = self._pipeline.finish(request, pieces, rules)
        return {
            "request_id": result.request_id,
            "model": result.model,
            "version": result.version,
            "results": [_ranked_row(document, work) for document in result],
            "usage": asdict(result.usage),
        }

    async def _scored(self, claim: Claim, work: ScoreWork) -> dict[str, Any]:
        request = RerankRequest("", [], model=work.model, truncation=work.truncation, cache=work.cache)
        found = await self._score(work.groups, claim, request)
        scores = [[score.raw_score for score in group] for group in found.result.scores]
        flat = [score for group in found.result.scores for score in group]
        about = {"model": found.model, "version": found.version, "policy": found.truncation.identity}
        return about | {"scores": scores, "usage": asdict(usage_of(flat))}

    async def _score(self, groups: Sequence[QueryGroup], claim: Claim, request: RerankRequest) -> ModelScores:
        """Score, as soon as there is a place in the queue: what was scored of the part is not given away for that."""
        retry_key = secrets.token_hex(8)
        while True:
            asked = replace(self._asked(claim, request), retry_key=retry_key)
            try:
                return await self._pipeline.score(groups, asked)
            except OverloadedError as busy:
                await asyncio.sleep(busy.retry_after)

    def _asked(self, claim: Claim, request: RerankRequest) -> RerankRequest:
        """The request in the name of the job: its owner's, and worth nothing after its deadline."""
        left = claim.deadline - time.time() if claim.deadline else None
        if left is not None and left <= 0:
            raise DeadlineExceededError("The job's time was up.")
        key = claim.owner if claim.priority == "interactive" else f"{claim.owner}~bulk"
        return replace(request, timeout=left, fairness_key=key, background=claim.priority == "bulk")

    def _ended(self, job: str) -> None:
        """From any thread: a job has ended; what of it is being worked stops."""
        self._loop.call_soon_threadsafe(self._stop_job, job)

    def _stop_job(self, job: str) -> None:
        for claim, task in list(self._running.values()):
            if claim.job == job:
                task.cancel()

    async def _look_after(self) -> None:
        away = False
        while True:
            try:
                await self._round()
            except UnavailableError as error:
                if not away:
                    _log.warning("%s It is tried again every second.", error.message)
                away = True
            except Exception:
                _log.exception("upkeep of jobs failed")
            else:
                if away:
                    _log.info("The job queue can be reached again.")
                away = False
            await asyncio.sleep(min(UPKEEP_SECONDS, self._options.lease_seconds / 4))

    async def _round(self) -> None:
        await self._renew()
        await self._call(self._store.reap_expired_leases)
        await self._announce()
        await self._wake_up()

    async def _renew(self) -> None:
        held = list(self._running.values())
        if not held:
            return
        valid = await self._call(self._store.renew, [claim for claim, _ in held])
        for (_, task), kept in zip(held, valid, strict=True):
            if not kept:
                task.cancel()

    async def _announce(self) -> None:
        for hook in await self._call(self._store.due_deliveries):
            task = asyncio.create_task(self._webhooks.deliver(hook))
            self._announcing.add(task)
            task.add_done_callback(self._announcing.discard)

    async def _wake_up(self) -> None:
        waiting = await self._call(self._store.queue_depth)
        bulk = min(waiting.bulk, self._options.bulk_slots - self._bulk)
        parts = min(waiting.interactive + max(bulk, 0), self._options.slots - len(self._turns))
        if parts > 0:
            self.fill_slots(parts)

    async def _call(self, method: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Ask the store, which blocks, in a thread."""
        return await self._loop.run_in_executor(self._threads, lambda: method(*arguments, **named))

    async def _retry_until_done(self, method: Callable[..., object], *arguments: Any, **named: Any) -> None:
        """Tell the store, for as long as it cannot be reached; what is lost after that is computed again."""
        until, pause = time.monotonic() + INSIST_SECONDS, 0.1
        while True:
            try:
                await self._call(method, *arguments, **named)
            except UnavailableError as error:
                if time.monotonic() > until or self._closing:
                    _log.error("a result could not be handed in: %s", error.message)
                    return
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
            else:
                return


def _cause(error: BaseException | None) -> BaseException | None:
    """Why a part failed: of several reasons, the one that decides what becomes of it."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    causes = [_cause(one) for one in error.exceptions]
    kinds = (DeadlineExceededError, OverloadedError, BaseException)
    return next(cause for kind in kinds for cause in causes if isinstance(cause, kind))


def _ranked_row(ranked: RankedDocument, work: RankWork) -> dict[str, Any]:
    row: dict[str, Any] = {
        "index": ranked.index,
        "relevance_score": ranked.relevance_score,
        "raw_score": ranked.raw_score,
        "truncated": ranked.truncated,
        "chunks": ranked.chunks,
    }
    if ranked.rules:
        row["rules"] = [asdict(rule) for rule in ranked.rules]
    return row | {"document": {"text": ranked.document.text}} if work.texts else row


def _error_row(error: RerankdError, *, lost: bool = False) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": str(error)} | ({"lost": True} if lost else {})}
