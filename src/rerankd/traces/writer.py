"""The trace writer: a bounded queue between requests and the database, written in batches by one background thread.

A request pays for one append to the queue. Redaction, hashing, inserts and retries happen in the thread, and its errors
never reach a request. When the queue is full, rankings are dropped and counted.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rerankd._common.backoff import Backoff
from rerankd._common.error_text import first_line, public_message
from rerankd._common.logging import logger
from rerankd.traces.sampling import is_sampled
from rerankd.types import RankingRecord

if TYPE_CHECKING:
    from rerankd.traces.store import TraceStore
    from rerankd.traces.trace import PendingTrace

_log = logger(__name__)
BATCH_SIZE = 500
BACKOFF = Backoff(attempts=None, first=0.25, longest=10.0)
CLOSING_PAUSE = 0.25
MAINTENANCE_SECONDS = 60.0
OVERHEAD_BYTES = 200  # of a text in memory, beside its characters
DROPS = ("full", "redaction", "invalid", "closed")


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """Limits of a trace writer.

    Attributes:
        max_delay: seconds within which a ranking is written; a process that is killed loses no more than that.
        max_queued: rankings in the queue at most.
        max_queued_bytes: bytes of their texts at most.
        sampling_rates: share of the rankings to trace, 0 to 1, by tenant; `*` for all other tenants.
    """

    max_delay: float = 1.0
    max_queued: int = 10_000
    max_queued_bytes: int = 64_000_000
    sampling_rates: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class WriterCounts:
    """Counters of a trace writer since its start.

    Attributes:
        written: rankings that were written.
        sampled_out: rankings that sampling left out.
        dropped: dropped rankings by reason: `full` (the queue), `redaction` (it failed), `invalid` (the database
            rejected the trace), `closed` (the process ended while the database was not available).
        failures: failed attempts to write.
        is_up: True if the last attempt succeeded.
    """

    written: int = 0
    sampled_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    is_up: bool = True


class TraceWriter:
    """Writes rankings to a store in the background. Implements `rerankd.types.Recorder`.

    Args:
        open_store: function that opens the store; called in the writer's thread, and again after it failed.
        options: limits; None for the defaults.
        redact: function that returns what may be stored of a text; a ranking for which it raises is dropped.
        maintain: function that is called with the store about every minute, such as for retention; it returns True to
            be called again at once.

    Example:
        >>> writer = TraceWriter(lambda: TraceStore("sqlite:///traces.sqlite"))  # doctest: +SKIP
        >>> Reranker(recorder=writer).rank("query", ["document"])  # doctest: +SKIP
        >>> writer.close()  # doctest: +SKIP
    """

    def __init__(
        self,
        open_store: Callable[[], TraceStore],
        options: WriterOptions | None = None,
        redact: Callable[[str], str] | None = None,
        maintain: Callable[[TraceStore], object] | None = None,
    ) -> None:
        self._open, self._redact, self._maintain = open_store, redact, maintain
        self._options = options or WriterOptions()
        self.counts = WriterCounts()
        self._queue: deque[tuple[float, int, RankingRecord]] = deque()  # (time, bytes, ranking)
        self._changed = threading.Condition()
        self._bytes = 0
        self._deadline: float | None = None  # of `close`
        self._flushing = False
        self._thread: threading.Thread | None = None
        self._store: TraceStore | None = None
        self._batch_size = 0  # rankings at the head of the queue that `_pending` was built from
        self._pending: list[PendingTrace] = []
        self._failed_attempts = 0  # since the last success
        self._next_maintenance = time.monotonic() + MAINTENANCE_SECONDS if maintain else math.inf

    @property
    def queued(self) -> int:
        """Rankings that are not written yet."""
        return len(self._queue)

    @property
    def queued_bytes(self) -> int:
        """Approximate bytes of their texts."""
        return self._bytes

    def record(self, ranking: RankingRecord) -> None:
        """Queue a ranking; it is written within `max_delay`, or dropped and counted."""
        if not ranking.scores:
            return
        if not is_sampled(ranking, self._options.sampling_rates):
            self.counts.sampled_out += 1
            return
        request = ranking.request
        characters = len(request.query) + sum(len(document.text) for document in request.documents)
        size = characters + OVERHEAD_BYTES * (len(request.documents) + 1)
        with self._changed:
            options = self._options
            if self._deadline is not None:
                self.counts.dropped["closed"] += 1
            elif len(self._queue) >= options.max_queued or self._bytes + size > options.max_queued_bytes:
                self.counts.dropped["full"] += 1
            else:
                self._queue.append((time.monotonic(), size, ranking))
                self._bytes += size
                self._start_thread()
                if len(self._queue) in (1, BATCH_SIZE):
                    self._changed.notify_all()

    def start(self) -> None:
        """Start the thread, so that maintenance runs before the first ranking."""
        with self._changed:
            self._start_thread()

    def flush(self, seconds: float = 30.0) -> bool:
        """Write the queue at once; returns True if it is empty within so many seconds."""
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            is_empty = self._changed.wait_for(lambda: not self._queue, seconds)
            self._flushing = False
            return is_empty

    def close(self, seconds: float = 10.0) -> None:
        """Write the queue and stop; rankings that cannot be written within so many seconds are dropped and counted."""
        with self._changed:
            self._deadline = time.monotonic() + seconds
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(seconds + 1.0)
        with self._changed:
            if remaining := len(self._queue):
                self.counts.dropped["closed"] += remaining
                self._queue.clear()
                self._bytes = 0
                _log.error("%d traces were lost: the database was not available at shutdown", remaining)

    def _start_thread(self) -> None:
        if self._thread is None and self._deadline is None:
            self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
            self._thread.start()

    # -- methods of the thread

    def _run(self) -> None:
        while self._wait():
            self._build_batch()
            try:
                self._write_batch()
            except Exception as error:
                self._failed_attempts += 1
                self._report_failure(error)
            else:
                self._finish_batch()
            self._run_maintenance()
        if self._store is not None:
            self._store.close()

    def _wait(self) -> bool:
        """Wait for a full batch, half of the delay, or the end of a pause; returns False when it is time to stop."""
        with self._changed:
            if self._failed_attempts and self._deadline is None:
                self._changed.wait_for(lambda: self._deadline is not None, BACKOFF.pause(self._failed_attempts))
            elif self._failed_attempts:
                self._changed.wait(CLOSING_PAUSE)
            while not self._is_due():
                self._changed.wait(self._seconds_until_due())
            if self._deadline is None:
                return True
            return bool(self._queue) and time.monotonic() < self._deadline

    def _is_due(self) -> bool:
        now = time.monotonic()
        if self._deadline is not None or len(self._queue) >= BATCH_SIZE or now >= self._next_maintenance:
            return True
        return bool(self._queue) and (self._flushing or now >= self._queue[0][0] + self._options.max_delay / 2)

    def _seconds_until_due(self) -> float | None:
        due = self._queue[0][0] + self._options.max_delay / 2 if self._queue else math.inf
        due = min(due, self._next_maintenance)
        return None if due == math.inf else max(0.001, due - time.monotonic())

    def _build_batch(self) -> None:
        """Build the traces of the next batch, once; its rankings stay in the queue until they are written."""
        if self._batch_size:
            return
        with self._changed:
            batch = [ranking for _, _, ranking in itertools.islice(self._queue, BATCH_SIZE)]
        self._batch_size = len(batch)
        self._pending = [trace for ranking in batch if (trace := self._build(ranking)) is not None]

    def _build(self, ranking: RankingRecord) -> PendingTrace | None:
        from rerankd.traces.trace import build_trace

        try:
            return build_trace(ranking, self._redact)
        except Exception as error:  # a text that was not redacted must not be stored
            self.counts.dropped["redaction"] += 1
            _log.error("a trace was dropped: redaction failed (%s)", type(error).__name__)
            return None

    def _write_batch(self) -> None:
        """Write the batch; if the database rejects it, one by one, so that only invalid traces are dropped."""
        from rerankd.database.errors import is_permanent

        size = max(1, len(self._pending))
        while self._pending:
            batch = self._pending[:size]
            try:
                self._opened_store().write(batch)
            except Exception as error:
                if not is_permanent(error):
                    raise
                if len(batch) > 1:
                    size = 1
                    continue
                self._report_failure(error)
                self.counts.dropped["invalid"] += 1
            else:
                self.counts.written += len(batch)
            del self._pending[: len(batch)]

    def _opened_store(self) -> TraceStore:
        if self._store is None:
            self._store = self._open()
        return self._store

    def _finish_batch(self) -> None:
        if self._batch_size and not self.counts.is_up:
            _log.info("traces are written again")
        self.counts.is_up = self.counts.is_up or bool(self._batch_size)
        self._failed_attempts = 0
        with self._changed:
            for _ in range(min(self._batch_size, len(self._queue))):
                self._bytes -= self._queue.popleft()[1]
            self._changed.notify_all()
        self._batch_size = 0

    def _report_failure(self, error: BaseException) -> None:
        """Count and log an error; foreign errors by class and cause only, since their messages may quote texts."""
        if self.counts.is_up:
            reason = public_message(error, _describe(error))
            _log.error("traces cannot be written: %s; writing is retried, and a full queue drops traces", reason)
        self.counts.failures += 1
        self.counts.is_up = False

    def _run_maintenance(self) -> None:
        if self._maintain is None or time.monotonic() < self._next_maintenance:
            return
        self._next_maintenance = time.monotonic() + MAINTENANCE_SECONDS
        try:
            if self._maintain(self._opened_store()):  # there is more to do; new traces are written first
                self._next_maintenance = time.monotonic() + 1.0
        except Exception as error:
            self._report_failure(error)


def _describe(error: BaseException) -> str:
    cause = getattr(error, "orig", None)
    name = type(error).__name__
    return name if cause is None else f"{name}: {first_line(cause)}"
