"""Steps of an engine: schedule, run, postprocess, in threads that are restarted after a crash.

`compute` schedules, runs and postprocesses step after step; `prefetch` schedules the next step while one is computed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from rerankd._common.logging import logger
from rerankd.engine.cache import ScoreCache
from rerankd.engine.health import Health
from rerankd.engine.in_flight import InFlight
from rerankd.engine.observer import EngineObserver
from rerankd.engine.request import EngineRequest
from rerankd.engine.runner import BatchRunner, OutputOrError
from rerankd.engine.scheduler import QueuedSequence
from rerankd.errors import DeadlineExceededError, RerankdError, UnavailableError
from rerankd.scoring.encoder import EncodedPair
from rerankd.types import PairScore

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """Batches that are computed before the scheduler is asked again; each is one call of the backend."""

    batches: list[list[QueuedSequence]]

    @property
    def sequences(self) -> list[QueuedSequence]:
        """Sequences of all batches, in order."""
        return list(chain.from_iterable(self.batches))

    @property
    def encoded(self) -> list[list[EncodedPair]]:
        """Token ids of each batch."""
        return [[pair.chunks[chunk] for pair, chunk in (one.payload for one in batch)] for batch in self.batches]

    @property
    def tokens(self) -> int:
        """Tokens of all batches, without padding."""
        return sum(sequence.length for sequence in chain.from_iterable(self.batches))


class StepLoop:
    """Threads that compute the pairs in flight.

    Args:
        name: name of the model, for the observer and the log.
        in_flight: pairs in flight and their scheduler, guarded by `changed`.
        changed: lock of the engine; notified whenever work comes, goes or is done.
        runner: runner of the batches.
        health: record of crashes, guarded by `changed`.
        cache: score cache; None for none.
        observer: observer of drops and crashes.
        clock: monotonic seconds.

    Attributes:
        running: step that is computed; None for none.
        running_since: time at which it was started.
        prefetched: step that comes next, if it was scheduled already.
        stopped: True once the engine is closed.
    """

    def __init__(
        self,
        name: str,
        in_flight: InFlight,
        changed: threading.Condition,
        runner: BatchRunner,
        health: Health,
        *,
        cache: ScoreCache | None,
        observer: EngineObserver,
        clock: Callable[[], float],
    ) -> None:
        self._name, self._in_flight, self._changed = name, in_flight, changed
        self._runner, self._health = runner, health
        self._cache, self._observer, self._clock = cache, observer, clock
        self.running: Step | None = None
        self.running_since = 0.0
        self.prefetched: Step | None = None
        self.stopped = False

    @property
    def tokens(self) -> int:
        """Tokens that were scheduled and are not computed yet."""
        return sum(step.tokens for step in (self.running, self.prefetched) if step is not None)

    def start(self) -> None:
        """Start the threads, for the first time or after a crash."""
        generation = self._health.start()
        for name, work in (("compute", self._compute), ("prefetch", self._prefetch)):
            thread_name = f"{name} {self._name}"
            threading.Thread(target=self._guard, args=(work, generation), name=thread_name, daemon=True).start()

    def drop(self, request: EngineRequest, reason: str) -> None:
        """Forget a request; the lock is held.

        Args:
            request: request that is cancelled, failed or expired.
            reason: label of the dropped pairs in the metrics.
        """
        if dropped := self._in_flight.remove(request):
            self._observer.dropped(self._name, dropped, reason)
        self._changed.notify_all()

    def crash(self, error: BaseException, generation: int) -> None:
        """Fail everything that waits; the threads of that generation end, and `start` begins a new one."""
        with self._changed:
            if not self._is_current(generation):
                return
            _log.critical("%s: the engine crashed; all waiting requests fail", self._name, exc_info=error)
            self._health.crash()
            self.prefetched = self.running = None
            requests = self._in_flight.clear()
            self._changed.notify_all()
        self._observer.failed(self._name, "loop")
        for request in requests:
            request.fail(UnavailableError("The model stopped working.", hint="Send the request again.", retry_after=2))

    def _guard(self, work: Callable[[int], None], generation: int) -> None:
        try:
            work(generation)
        except BaseException as error:
            self.crash(error, generation)

    def _compute(self, generation: int) -> None:
        while (step := self._schedule(generation)) is not None:
            outputs = self._runner.run(step.encoded)
            self._postprocess(step, outputs, generation)

    def _prefetch(self, generation: int) -> None:
        """Schedule the next step while one is computed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._is_current(generation) or self._may_prefetch())
                if not self._is_current(generation):
                    return
                self.prefetched, expired = self._next_step()
            _fail_expired(expired)

    def _schedule(self, generation: int) -> Step | None:
        """Wait for the next step; None once these threads are to end."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: not self._is_current(generation) or self.prefetched or self._in_flight.scheduler
                )
                if not self._is_current(generation):
                    return None
                expired: list[EngineRequest] = []
                if self.prefetched is None:
                    self.prefetched, expired = self._next_step()
                step, self.prefetched = self.prefetched, None
                step = self._without_dropped(step) if step is not None else None
                self.running, self.running_since = step, self._clock()
                for sequence in step.sequences if step is not None else ():
                    for request in sequence.payload[0].requests:
                        request.started = request.started or self.running_since
                self._changed.notify_all()
            _fail_expired(expired)
            if step is not None:
                return step

    def _postprocess(self, step: Step, outputs: list[list[OutputOrError]], generation: int) -> None:
        """Store the outputs of a step and answer the requests that are finished."""
        flat = list(chain.from_iterable(outputs))
        seconds = self._clock() - self.running_since
        with self._changed:
            if generation != self._health.generation:
                return
            self.running = None
            if not all(isinstance(output, RerankdError) for output in flat):
                self._health.succeed()
                self._runner.measure(step.tokens, seconds)
            result = self._in_flight.complete(step.sequences, flat)
            self._changed.notify_all()
        if result.dropped:
            self._observer.dropped(self._name, result.dropped, "failed")
        for request, error in result.failed.items():
            request.fail(error)
        now = self._clock()
        for request in result.finished:
            request.finish(now)
        self._store(result.scores)

    def _store(self, scores: dict[bytes, PairScore]) -> None:
        if self._cache is None or not scores:
            return
        try:
            self._cache.put(scores)
        except Exception as error:  # a cache that fails must not crash the thread
            _log.exception("%s: scores could not be cached", self._name, exc_info=error)

    def _is_current(self, generation: int) -> bool:
        return generation == self._health.generation and not self.stopped

    def _may_prefetch(self) -> bool:
        return self.running is not None and self.prefetched is None and bool(self._in_flight.scheduler)

    def _next_step(self) -> tuple[Step | None, list[EngineRequest]]:
        """Return the next step, and the requests whose deadline passed, which are removed; the lock is held."""
        expired = self._in_flight.expired(self._clock())
        for request in expired:
            self.drop(request, "deadline")
        batches = self._in_flight.scheduler.next_step(self._runner.budget, self._runner.limits)
        return (Step(batches) if batches else None), expired

    def _without_dropped(self, step: Step) -> Step | None:
        """Return the step without sequences that no request waits for any more; None if nothing is left."""
        batches = [[sequence for sequence in batch if sequence.wanted] for batch in step.batches]
        wanted = Step([batch for batch in batches if batch])
        if dropped := len(step.sequences) - len(wanted.sequences):
            self._observer.dropped(self._name, dropped, "cancelled")
        return wanted if wanted.batches else None


def _fail_expired(requests: list[EngineRequest]) -> None:
    for request in requests:
        request.fail(DeadlineExceededError("The request's deadline passed before it was computed."))
