"""Chunks scored by workers on any number of machines: each is a job in Redis, bulk, and forgotten when it is fetched.

A worker or Redis that ends costs time, not results: chunks that are lost are handed in again, and a run that is resumed
finds those that were scored meanwhile.
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

WINDOW = 64  # so that workers have work while what a killed one held waits for its lease to end
LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 600.0
ANSWER_SECONDS = 60.0

_log = logger(__name__)
T = TypeVar("T")


@dataclass(slots=True)
class _Flight:
    """A chunk on its way: as one piece, or, after that failed, row by row."""

    chunk: Chunk
    future: Future[ChunkResult]
    alone: bool = False


class QueueExecutor:
    """An `Executor` on the workers of a queue.

    Args:
        queue: of the jobs.
        model: name of the model among the workers' models; None for their default.
        truncation: how pairs are cut, where that differs from the workers' settings.
        window: chunks on their way at most.
        patience: seconds that a queue out of reach is waited for.

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
    ) -> None:
        self._queue, self._model, self._truncation = queue, model, truncation or TruncationOverrides()
        self._window, self._patience = window, patience
        self._flights: dict[str, list[_Flight]] = {}
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._stopped = threading.Event()
        self._ended: set[str] = set()
        self.identity: Mapping[str, str | int] = self._ask(answer_seconds)

    def _ask(self, seconds: float) -> Mapping[str, str | int]:
        """Let a worker score one pair: that there is one, and which model it has."""
        job, _ = self._queue.submit([ScoreWork([("a question", ["an answer"])], self._model, self._truncation, False)])
        until = time.monotonic() + seconds
        while (found := self._queue.store.get(job.id)) and not found.final:
            if time.monotonic() > until:
                self._queue.store.cancel(job.id)
                raise UnavailableError(
                    f"No worker answered within {seconds:.0f} s.", hint="Start one: rerankd worker --queue-url URL"
                )
            time.sleep(0.05)
        (row,) = result_rows(self._queue.store.results(job.id))
        self._queue.store.delete(job.id)
        if row is None or "error" in row:
            raise ScoringError(f"The workers cannot score: {row['error']['message'] if row else 'no result'}")
        if self._model is not None and row["model"] != self._model:
            raise ModelNotFoundError(
                f"The workers have no model {self._model!r}; {row['model']!r} answered.",
                hint="Name it in their setting models, or leave --model out.",
            )
        truncation = f"{row['policy']} {self._truncation.identity}"
        return {"model": str(row["model"]), "version": str(row["version"]), "policy": truncation, "executor": "workers"}

    def run(self, chunks: Iterator[Chunk]) -> Iterator[ChunkResult]:
        """Have chunks scored; results come in order."""
        self._stopped.clear()
        unwatch = self._queue.store.subscribe(self._hear)
        collector = threading.Thread(target=self._collect, name="bulk results", daemon=True)
        collector.start()
        try:
            yield from in_order(chunks, self._submit, self._window)
        finally:
            self._stopped.set()
            self._news.set()
            collector.join()
            unwatch()
            self._cancel()

    def _submit(self, chunk: Chunk) -> Future[ChunkResult]:
        flight = _Flight(chunk, Future())
        flight.future.set_running_or_notify_cancel()
        self._send(flight)
        return flight.future

    def _send(self, flight: _Flight) -> None:
        """Hand a chunk in; the same chunk of the same run is one job, however often it is handed in."""
        groups = flight.chunk.groups
        pieces: Sequence[Any] = [[group] for group in groups] if flight.alone else [group_by_query(groups)]
        name = f"{flight.alone} {self.identity} ".encode() + flight.chunk.to_bytes()
        job, _ = self._retry_until_done(
            lambda: self._queue.submit(
                [ScoreWork(piece, self._model, self._truncation) for piece in pieces],
                owner="~bulk",
                priority="bulk",
                idempotency=hashlib.sha256(name).hexdigest(),
            )
        )
        with self._lock:
            self._flights.setdefault(job.id, []).append(flight)
        if job.final:
            self._hear(job.id)

    def _hear(self, job: str) -> None:
        with self._lock:
            self._ended.add(job)
        self._news.set()

    def _collect(self) -> None:
        """Fetch what has ended, as it is heard of; every second, look also at what nothing was heard of."""
        try:
            looked = time.monotonic()
            while not self._stopped.is_set():
                self._news.wait(LOOK_SECONDS)
                self._news.clear()
                with self._lock:
                    in_flight, ended, self._ended = set(self._flights), self._ended, set()
                if time.monotonic() - looked >= LOOK_SECONDS:
                    looked, ended = time.monotonic(), in_flight
                for job in ended & in_flight:
                    self._land(job)
        except Exception as error:  # whoever waits is told, whatever it was
            _log.debug("collecting ended", exc_info=error)
            self._fail(error)

    def _land(self, job: str) -> None:
        found = self._retry_until_done(lambda: self._queue.store.get(job))
        if found is not None and not found.final:
            return
        rows = list(result_rows(self._retry_until_done(lambda: self._queue.store.results(job)))) if found else []
        with self._lock:
            flights = self._flights.pop(job)
        try:
            if found:
                self._retry_until_done(lambda: self._queue.store.delete(job))
            for flight in flights:
                if found is None or found.state in ("cancelled", "expired") or None in rows:
                    _log.info("chunk %d was lost and is handed in again", flight.chunk.number)
                    self._send(flight)
                else:
                    self._settle(flight, found, [row for row in rows if row])
        except Exception as error:
            _tell(flights, error)
            raise

    def _settle(self, flight: _Flight, job: Job, rows: list[dict[str, Any]]) -> None:
        if job.failed and not flight.alone:
            _log.warning("chunk %d failed (%s); its rows are tried alone", flight.chunk.number, job.error)
            flight.alone = True
            self._send(flight)
            return
        for row in rows:
            if "version" in row and row["version"] != self.identity["version"]:
                raise ScoringError(
                    "The workers' model was changed during the run.", hint="Run it again with --restart."
                )
        with contextlib.suppress(InvalidStateError):
            flight.future.set_result(_result(flight, rows))

    def _retry_until_done(self, ask: Callable[[], T]) -> T:
        """Ask a queue that may be away or full for a while.

        Raises:
            UnavailableError: it is away for too long; the run can be resumed.
        """
        until, away = time.monotonic() + self._patience, False
        while True:
            try:
                return ask()
            except (UnavailableError, OverloadedError) as error:
                if time.monotonic() > until or self._stopped.is_set():
                    raise
                if not away:
                    _log.warning("%s It is tried again.", error.message)
                away = True
                self._stopped.wait(LOOK_SECONDS)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            flights = [flight for flights in self._flights.values() for flight in flights]
        _tell(flights, error)

    def _cancel(self) -> None:
        """Nobody waits any more: what workers have not begun they need not."""
        with self._lock:
            jobs, self._flights = list(self._flights), {}
        with contextlib.suppress(UnavailableError):
            for job in jobs:
                self._queue.store.cancel(job)
                self._queue.store.delete(job)


def _tell(flights: Sequence[_Flight], error: Exception) -> None:
    """Fail the futures of chunks."""
    for flight in flights:
        with contextlib.suppress(InvalidStateError):
            flight.future.set_exception(error)


def group_by_query(groups: Sequence[QueryGroup]) -> list[tuple[str, list[str]]]:
    """Each query once, with all its documents: pairs that come one by one are encoded much faster so.

    Example:
        >>> group_by_query([("a", ("1",)), ("b", ("2",)), ("a", ("3", "4"))])
        [('a', ['1', '3', '4']), ('b', ['2'])]
    """
    found: dict[str, list[str]] = {}
    for query, documents in groups:
        found.setdefault(query, []).extend(documents)
    return list(found.items())


def ungroup(groups: Sequence[QueryGroup], scores: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """Scores of what `group_by_query` made, for the groups that it was made of.

    Example:
        >>> ungroup([("a", ("1",)), ("b", ("2",)), ("a", ("3", "4"))], [[1.0, 3.0, 4.0], [2.0]])
        [(1.0,), (2.0,), (3.0, 4.0)]
    """
    queries = dict.fromkeys(query for query, _ in groups)
    left = {query: iter(own) for query, own in zip(queries, scores, strict=True)}
    return [tuple(islice(left[query], len(documents))) for query, documents in groups]


def _result(flight: _Flight, rows: list[dict[str, Any]]) -> ChunkResult:
    outcomes: list[RowResult] = []
    groups = flight.chunk.groups
    for row, own in zip(rows, [[group] for group in groups] if flight.alone else [groups], strict=True):
        if "error" in row:
            outcomes.append(RowError(row["error"]["code"], row["error"]["message"]))
        else:
            outcomes += ungroup(own, row["scores"])
    usage = [row["usage"] for row in rows if "usage" in row]
    tokens, truncated = sum(one["tokens"] for one in usage), sum(one["truncated"] for one in usage)
    return ChunkResult(flight.chunk.number, tuple(outcomes), tokens, truncated)
