"""Executor on the workers of a job queue: each chunk is a bulk job, deleted once its result is fetched.

A worker or a Redis that stops costs time, not results: lost chunks are submitted again, and a resumed run picks up the
chunks that were scored in the meantime.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from rerankd._common.backoff import Backoff
from rerankd._common.logging import logger
from rerankd.engine.request import QueryGroup
from rerankd.errors import ModelNotFoundError, OverloadedError, ScoringError, UnavailableError
from rerankd.jobs.bulk.chunk import Chunk, ChunkResult, RowError, RowResult
from rerankd.jobs.bulk.executor import in_order
from rerankd.jobs.job import Job
from rerankd.jobs.queue import JobQueue
from rerankd.jobs.results import result_rows
from rerankd.jobs.work import ScoreWork
from rerankd.types import TruncationOverrides

WINDOW = 64  # enough work for the others while the chunks of a killed worker wait for its lease to expire
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 600.0
ANSWER_SECONDS = 60.0
POLL_BACKOFF = Backoff(attempts=None, first=0.05, longest=0.5, jitter=0.0)
RETRY_BACKOFF = Backoff(attempts=None, first=1.0, longest=5.0)

_log = logger(__name__)
T = TypeVar("T")


@dataclass(slots=True)
class _PendingChunk:
    """A submitted chunk: scored as a whole or, after that failed, row by row."""

    chunk: Chunk
    future: Future[ChunkResult]
    by_row: bool = False


class QueueExecutor:
    """An `Executor` on the workers of a queue.

    Args:
        queue: queue that the jobs are submitted to.
        model: name of one of the workers' models; None for their default.
        truncation: truncation options that differ from the workers' settings.
        window: largest number of chunks in flight.
        patience: seconds to keep retrying while the queue is unreachable or full.
        answer_seconds: seconds to wait for the first answer of a worker.
        backoff: pauses between retries while the queue is unreachable or full.

    Attributes:
        identity: model, version and options, for the checkpoints of bulk runs.
        warnings: what the workers' model does not do, such as read an instruction.

    Raises:
        UnavailableError: no worker answers.
        ModelNotFoundError: the workers do not have the model.
    """

    def __init__(
        self,
        queue: JobQueue,
        model: str | None = None,
        truncation: TruncationOverrides | None = None,
        *,
        window: int = WINDOW,
        patience: float = PATIENCE_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        backoff: Backoff = RETRY_BACKOFF,
    ) -> None:
        self._queue, self._model, self._truncation = queue, model, truncation or TruncationOverrides()
        self._window, self._patience, self._backoff = window, patience, backoff
        self._pending: dict[str, list[_PendingChunk]] = {}
        self._lock = threading.Lock()
        self._wake_up = threading.Event()
        self._stopped = threading.Event()
        self._ended: set[str] = set()
        self.warnings: list[str] = []
        self.identity: Mapping[str, str | int] = self._probe_worker(answer_seconds)

    def _probe_worker(self, seconds: float) -> Mapping[str, str | int]:
        """Have a worker score one pair, to learn that there is a worker and which model it has."""
        job, _ = self._queue.submit([ScoreWork([("a question", ["an answer"])], self._model, self._truncation, False)])
        deadline = time.monotonic() + seconds
        pauses = POLL_BACKOFF.pauses()
        while (current := self._queue.store.get(job.id)) and not current.final:
            if time.monotonic() > deadline:
                self._queue.store.cancel(job.id)
                raise UnavailableError(
                    f"No worker answered within {seconds:.0f} s.", hint="Start one: rerankd worker --queue-url URL"
                )
            time.sleep(next(pauses))
        (row,) = result_rows(self._queue.store.results(job.id))
        self._queue.store.delete(job.id)
        if row is None or "error" in row:
            raise ScoringError(f"The workers cannot score: {row['error']['message'] if row else 'no result'}")
        if self._model is not None and row["model"] != self._model:
            raise ModelNotFoundError(
                f"The workers have no model {self._model!r}; {row['model']!r} answered.",
                hint="Add it to their setting models, or omit --model.",
            )
        self.warnings = list(row.get("meta", {}).get("warnings", []))
        truncation = f"{row['policy']} {self._truncation.identity}"
        return {"model": str(row["model"]), "version": str(row["version"]), "policy": truncation, "executor": "workers"}

    def run(self, chunks: Iterator[Chunk]) -> Iterator[ChunkResult]:
        """Have the workers score chunks, and yield the results in order."""
        self._stopped.clear()
        unsubscribe = self._queue.store.subscribe(self._on_job_end)
        collector = threading.Thread(target=self._collect, name="bulk results", daemon=True)
        collector.start()
        try:
            yield from in_order(chunks, self._submit, self._window)
        finally:
            self._stopped.set()
            self._wake_up.set()
            collector.join()
            unsubscribe()
            self._cancel_pending()

    def _submit(self, chunk: Chunk) -> Future[ChunkResult]:
        pending = _PendingChunk(chunk, Future())
        pending.future.set_running_or_notify_cancel()
        self._send(pending)
        return pending.future

    def _send(self, pending: _PendingChunk) -> None:
        """Submit a chunk; the same chunk of the same run is one job, however often it is submitted."""
        groups = pending.chunk.groups
        requests: Sequence[Any] = [[group] for group in groups] if pending.by_row else [group_by_query(groups)]
        key = f"{pending.by_row} {self.identity} ".encode() + pending.chunk.to_bytes()
        job, _ = self._retry_until_done(
            lambda: self._queue.submit(
                [ScoreWork(request, self._model, self._truncation) for request in requests],
                tenant="~bulk",
                priority="bulk",
                idempotency=hashlib.sha256(key).hexdigest(),
            )
        )
        with self._lock:
            self._pending.setdefault(job.id, []).append(pending)
        if job.final:
            self._on_job_end(job.id)

    def _on_job_end(self, job_id: str) -> None:
        with self._lock:
            self._ended.add(job_id)
        self._wake_up.set()

    def _collect(self) -> None:
        """Fetch jobs as their end is announced; every second, check all of them, for an announcement may be lost."""
        try:
            polled = time.monotonic()
            while not self._stopped.is_set():
                self._wake_up.wait(POLL_SECONDS)
                self._wake_up.clear()
                with self._lock:
                    in_flight, ended, self._ended = set(self._pending), self._ended, set()
                if time.monotonic() - polled >= POLL_SECONDS:
                    polled, ended = time.monotonic(), in_flight
                for job_id in ended & in_flight:
                    self._fetch(job_id)
        except Exception as error:  # any error has to reach the caller, who waits on the futures
            _log.debug("collector stopped", exc_info=error)
            with self._lock:
                waiting = [pending for chunks in self._pending.values() for pending in chunks]
            _fail(waiting, error)

    def _fetch(self, job_id: str) -> None:
        """Complete the chunks of a job that has ended, or submit them again if its results are lost."""
        job = self._retry_until_done(lambda: self._queue.store.get(job_id))
        if job is not None and not job.final:
            return
        rows = list(result_rows(self._retry_until_done(lambda: self._queue.store.results(job_id)))) if job else []
        with self._lock:
            waiting = self._pending.pop(job_id)
        try:
            if job:
                self._retry_until_done(lambda: self._queue.store.delete(job_id))
            for pending in waiting:
                if job is None or job.state in ("cancelled", "expired") or None in rows:
                    _log.info("chunk %d was lost, submitting it again", pending.chunk.number)
                    self._send(pending)
                else:
                    self._complete(pending, job, [row for row in rows if row])
        except Exception as error:
            _fail(waiting, error)
            raise

    def _complete(self, pending: _PendingChunk, job: Job, rows: list[dict[str, Any]]) -> None:
        if job.failed and not pending.by_row:
            _log.warning("chunk %d failed (%s), scoring it row by row", pending.chunk.number, job.error)
            pending.by_row = True
            self._send(pending)
            return
        for row in rows:
            if "version" in row and row["version"] != self.identity["version"]:
                raise ScoringError("The workers' model changed during the run.", hint="Run it again with --restart.")
        with contextlib.suppress(InvalidStateError):
            pending.future.set_result(_chunk_result(pending, rows))

    def _retry_until_done(self, operation: Callable[[], T]) -> T:
        """Run an operation on the queue, and retry it while the queue is unreachable or full.

        Raises:
            UnavailableError: the queue was unreachable for too long; the run can be resumed.
            OverloadedError: the queue was full for too long.
        """
        deadline, pauses = time.monotonic() + self._patience, self._backoff.pauses()
        is_first = True
        while True:
            try:
                return operation()
            except (UnavailableError, OverloadedError) as error:
                pause = next(pauses, None)
                if pause is None or time.monotonic() > deadline or self._stopped.is_set():
                    raise
                if is_first:
                    _log.warning("%s Retrying.", error.message)
                is_first = False
                self._stopped.wait(pause)

    def _cancel_pending(self) -> None:
        """Cancel the jobs that nobody waits for any more."""
        with self._lock:
            job_ids, self._pending = list(self._pending), {}
        with contextlib.suppress(UnavailableError):
            for job_id in job_ids:
                self._queue.store.cancel(job_id)
                self._queue.store.delete(job_id)


def _fail(waiting: Sequence[_PendingChunk], error: Exception) -> None:
    for pending in waiting:
        with contextlib.suppress(InvalidStateError):
            pending.future.set_exception(error)


def group_by_query(groups: Sequence[QueryGroup]) -> list[tuple[str, list[str]]]:
    """Return each query once, with all its documents: a query is then sent and tokenized once, not once per pair.

    Example:
        >>> group_by_query([("a", ("1",)), ("b", ("2",)), ("a", ("3", "4"))])
        [('a', ['1', '3', '4']), ('b', ['2'])]
    """
    documents_of: dict[str, list[str]] = {}
    for query, documents in groups:
        documents_of.setdefault(query, []).extend(documents)
    return list(documents_of.items())


def ungroup(groups: Sequence[QueryGroup], scores: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """Distribute the scores of `group_by_query(groups)` over the original groups.

    Args:
        groups: groups before `group_by_query`.
        scores: one list of scores for each distinct query.

    Returns:
        One tuple of scores per group.

    Example:
        >>> ungroup([("a", ("1",)), ("b", ("2",)), ("a", ("3", "4"))], [[1.0, 3.0, 4.0], [2.0]])
        [(1.0,), (2.0,), (3.0, 4.0)]
    """
    queries = dict.fromkeys(query for query, _ in groups)
    remaining = {query: iter(query_scores) for query, query_scores in zip(queries, scores, strict=True)}
    return [tuple(islice(remaining[query], len(documents))) for query, documents in groups]


def _chunk_result(pending: _PendingChunk, rows: list[dict[str, Any]]) -> ChunkResult:
    outcomes: list[RowResult] = []
    groups = pending.chunk.groups
    requests = [[group] for group in groups] if pending.by_row else [groups]
    for row, row_groups in zip(rows, requests, strict=True):
        if "error" in row:
            outcomes.append(RowError(row["error"]["code"], row["error"]["message"]))
        else:
            outcomes += ungroup(row_groups, row["scores"])
    usages = [row["usage"] for row in rows if "usage" in row]
    tokens, truncated = sum(usage["tokens"] for usage in usages), sum(usage["truncated"] for usage in usages)
    return ChunkResult(pending.chunk.number, tuple(outcomes), tokens, truncated)
