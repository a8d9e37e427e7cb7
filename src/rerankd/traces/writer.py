"""Takes rankings from requests and writes them in the background; what it cannot keep up with is dropped and counted.

A request pays for one append to a list. Everything else happens in one thread: redaction, hashing, batches, trying
again while the database is away. No error of it ever reaches a request.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rerankd._common.logging import logger
from rerankd.errors import RerankdError
from rerankd.types import RankingRecord

if TYPE_CHECKING:
    from rerankd.traces.store import TraceStore
    from rerankd.traces.trace import PendingTrace

_log = logger(__name__)
BATCH = 500
SHORTEST_REST, LONGEST_REST = 0.25, 10.0
UPKEEP_SECONDS = 60.0
OVERHEAD_BYTES = 200
EVERYONE = "*"
DROPS = ("full", "redaction", "invalid", "closed")


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """How a writer works.

    Attributes:
        window: seconds within which a ranking is written; a process that is killed loses no more.
        queue: rankings that wait at most.
        queue_bytes: bytes of their texts at most.
        sample: share of rankings that are traced, by tenant; `*` for all others.
    """

    window: float = 1.0
    queue: int = 10_000
    queue_bytes: int = 64_000_000
    sample: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class WriterCounts:
    """What became of rankings since the start.

    Attributes:
        dropped: by reason: `full` (the queue), `redaction` (the hook failed), `invalid` (the database refused it), and
            `closed` (the process ended while the database was away).
        failures: attempts to write that failed.
        up: whether the last one did not.
    """

    written: int = 0
    sampled_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    up: bool = True


class TraceWriter:
    """Writes rankings to a store, in the background. Implements `rerankd.types.Recorder`.

    Args:
        open_store: opens the store; called in the writer's thread, again after it failed.
        options: bounds.
        redact: what may be kept of a text; a ranking for which it raises is dropped.
        upkeep: called with the store about every minute, to forget what is old.

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
        upkeep: Callable[[TraceStore], object] | None = None,
    ) -> None:
        self._open, self._redact, self._upkeep = open_store, redact, upkeep
        self._options = options or WriterOptions()
        self.counts = WriterCounts()
        self._queue: deque[tuple[float, int, RankingRecord]] = deque()
        self._changed = threading.Condition()
        self._bytes = 0
        self._closing: float | None = None
        self._flushing = False
        self._thread: threading.Thread | None = None
        self._store: TraceStore | None = None
        self._taken = 0
        self._held: list[PendingTrace] = []
        self._rest = 0.0
        self._next_upkeep = time.monotonic() + UPKEEP_SECONDS if upkeep else math.inf

    @property
    def waiting(self) -> int:
        """Rankings that are not written yet."""
        return len(self._queue)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of their texts, about."""
        return self._bytes

    def record(self, ranking: RankingRecord) -> None:
        """Take a ranking; it is written within the window, or dropped and counted."""
        if not ranking.scores or not self._sampled(ranking):
            return
        request = ranking.request
        texts = len(request.query) + sum(len(document.text) for document in request.documents)
        size = texts + OVERHEAD_BYTES * (len(request.documents) + 1)
        with self._changed:
            options = self._options
            if self._closing is not None:
                self.counts.dropped["closed"] += 1
            elif len(self._queue) >= options.queue or self._bytes + size > options.queue_bytes:
                self.counts.dropped["full"] += 1
            else:
                self._queue.append((time.monotonic(), size, ranking))
                self._bytes += size
                self._start()
                if len(self._queue) in (1, BATCH):
                    self._changed.notify_all()

    def start(self) -> None:
        """Begin to look after the store, also while nothing is ranked."""
        with self._changed:
            self._start()

    def flush(self, seconds: float = 30.0) -> bool:
        """Write what waits now, without waiting for the window; whether all of it was in time."""
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: not self._queue, seconds)
            self._flushing = False
            return done

    def close(self, seconds: float = 10.0) -> None:
        """Write what waits and end; what cannot be written in so many seconds is dropped and counted."""
        with self._changed:
            self._closing = time.monotonic() + seconds
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(seconds + 1.0)
        with self._changed:
            if left := len(self._queue):
                self.counts.dropped["closed"] += left
                self._queue.clear()
                self._bytes = 0
                _log.error("%d traces were lost: the database could not be reached to the end", left)

    def _start(self) -> None:
        if self._thread is None and self._closing is None:
            self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
            self._thread.start()

    def _sampled(self, ranking: RankingRecord) -> bool:
        sample = self._options.sample
        if not sample:
            return True
        share = sample.get(ranking.request.tenant, sample.get(EVERYONE, 1.0))
        name = ranking.request.request_id or f"{ranking.time}{ranking.request.query}"
        if zlib.crc32(name.encode("utf-8", "surrogatepass")) < share * 2**32:
            return True
        self.counts.sampled_out += 1
        return False

    # -- the thread

    def _run(self) -> None:
        while self._wait():
            self._take()
            try:
                self._write_held()
            except Exception as error:
                self._failed(error)
                self._rest = min(max(SHORTEST_REST, self._rest * 2), LONGEST_REST)
            else:
                self._succeeded()
            self._look_after()
        if self._store is not None:
            self._store.close()

    def _wait(self) -> bool:
        """Wait for a full batch, for half of the window, or for the end of a rest; False when it is time to end."""
        with self._changed:
            if self._rest and self._closing is None:
                self._changed.wait_for(lambda: self._closing is not None, self._rest)
            elif self._rest:
                self._changed.wait(SHORTEST_REST)
            while not self._due():
                self._changed.wait(self._pause())
            if self._closing is None:
                return True
            return bool(self._queue) and time.monotonic() < self._closing

    def _due(self) -> bool:
        now = time.monotonic()
        if self._closing is not None or len(self._queue) >= BATCH or now >= self._next_upkeep:
            return True
        return bool(self._queue) and (self._flushing or now >= self._queue[0][0] + self._options.window / 2)

    def _pause(self) -> float | None:
        until = self._queue[0][0] + self._options.window / 2 if self._queue else math.inf
        until = min(until, self._next_upkeep)
        return None if until == math.inf else max(0.001, until - time.monotonic())

    def _take(self) -> None:
        """Take the next batch; it stays in the queue until it is written, and is drafted once."""
        if self._taken:
            return
        with self._changed:
            batch = [ranking for _, _, ranking in itertools.islice(self._queue, BATCH)]
        self._taken = len(batch)
        self._held = [one for ranking in batch if (one := self._drafted(ranking)) is not None]

    def _drafted(self, ranking: RankingRecord) -> PendingTrace | None:
        from rerankd.traces.trace import build_trace

        try:
            return build_trace(ranking, self._redact)
        except Exception as error:  # nothing is kept that was not redacted
            self.counts.dropped["redaction"] += 1
            _log.error("a trace is not kept: it could not be redacted (%s)", type(error).__name__)
            return None

    def _write_held(self) -> None:
        """Write the batch; where the database refuses it, one by one, so that the others are kept."""
        from rerankd.database.errors import is_permanent

        size = max(1, len(self._held))
        while self._held:
            some = self._held[:size]
            try:
                self._opened().write(some)
            except Exception as error:
                if not is_permanent(error):
                    raise
                if len(some) > 1:
                    size = 1
                    continue
                self._failed(error)
                self.counts.dropped["invalid"] += 1
            else:
                self.counts.written += len(some)
            del self._held[: len(some)]

    def _opened(self) -> TraceStore:
        if self._store is None:
            self._store = self._open()
        return self._store

    def _succeeded(self) -> None:
        if self._taken and not self.counts.up:
            _log.info("traces are written again")
        self.counts.up = self.counts.up or bool(self._taken)
        self._rest = 0.0
        with self._changed:
            for _ in range(min(self._taken, len(self._queue))):
                self._bytes -= self._queue.popleft()[1]
            self._changed.notify_all()
        self._taken = 0

    def _failed(self, error: BaseException) -> None:
        """Count and say it; of errors that are not ours the kind only, since they may quote texts."""
        said = error.message if isinstance(error, RerankdError) else _short(error)
        if self.counts.up:
            _log.error("traces are not written now: %s; it is tried again, and what is too much is dropped", said)
        self.counts.failures += 1
        self.counts.up = False

    def _look_after(self) -> None:
        if self._upkeep is None or time.monotonic() < self._next_upkeep:
            return
        self._next_upkeep = time.monotonic() + UPKEEP_SECONDS
        try:
            if self._upkeep(self._opened()):  # there is more to do; new traces come first
                self._next_upkeep = time.monotonic() + 1.0
        except Exception as error:
            self._failed(error)


def _short(error: BaseException) -> str:
    cause = getattr(error, "orig", None)
    return (
        type(error).__name__ if cause is None else f"{type(error).__name__}: {str(cause).partition(chr(10))[0][:200]}"
    )
