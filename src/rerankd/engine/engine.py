"""Engine: dynamic batching across requests for one model.

Threads: `encode` turns texts into ids, a slice of a request at a time; `compute` schedules, runs and postprocesses step
after step; `prefetch` schedules the next step while one is computed. All share one lock around the scheduler and the
pairs in flight; no lock is held while anything is tokenized or computed.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rerankd._common.logging import logger
from rerankd.engine.admission import Admission
from rerankd.engine.batch_admission import AdmittedRoom, BatchAdmission
from rerankd.engine.cache import ScoreCache
from rerankd.engine.encoding import RequestEncoder
from rerankd.engine.health import STALL_SECONDS, WARM_UP_SECONDS, Health, probe_request, warm_up_requests
from rerankd.engine.in_flight import InFlight, Join
from rerankd.engine.observer import EngineObserver
from rerankd.engine.request import EngineRequest, QueryGroup, ScoreRequest
from rerankd.engine.runner import BatchRunner
from rerankd.engine.scheduler import Scheduler
from rerankd.engine.steps import StepLoop
from rerankd.errors import RequestCancelledError, RerankdError, UnavailableError
from rerankd.scoring.encoder import TruncationOptions
from rerankd.scoring.scorer import Scorer, best_chunk

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Budgets of an engine.

    Attributes:
        max_batch_tokens: tokens computed together at most.
        batch_seconds: target computing time of a step in seconds.
        max_queue_seconds: time within which an accepted request is answered, in seconds.
        fair: True if requests and tenants take turns; False for the order of arrival.
        shared_cache: True if tenants share cached scores and pairs in flight; each can then tell what others ranked.
    """

    max_batch_tokens: int = 16384
    batch_seconds: float = 0.05
    max_queue_seconds: float = 30.0
    fair: bool = True
    shared_cache: bool = False


class Engine:
    """Scores requests for one model, batched across requests. Thread-safe.

    Args:
        name: name of the model, for the log and the observer.
        version: fingerprint of the model; part of the cache's keys.
        scorer: encoder and backend.
        options: budgets.
        join: turns the outputs of a pair's chunks into its score; the best chunk's, unless the model embeds texts.
        cache: score cache; None for none.
        observer: observer of batches, failures and drops, for metrics.
        clock: monotonic seconds.

    Example:
        >>> engine = Engine("mini", "1", scorer)  # doctest: +SKIP
        >>> engine.submit(ScoreRequest([("q", ["a", "b"])], truncation)).future.result().scores  # doctest: +SKIP
        [[PairScore(...), PairScore(...)]]
    """

    def __init__(
        self,
        name: str,
        version: str,
        scorer: Scorer,
        options: EngineOptions | None = None,
        *,
        join: Join = best_chunk,
        cache: ScoreCache | None = None,
        observer: EngineObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        options = options or EngineOptions()
        self.name, self.version, self.scorer = name, version, scorer
        self.admission = Admission(options.max_queue_seconds)
        self._observer, self._clock = observer or EngineObserver(), clock
        runner = BatchRunner(
            scorer,
            max_batch_tokens=options.max_batch_tokens,
            step_seconds=options.batch_seconds,
            rate=self.admission.rate,
            observer=self._observer,
            model=name,
            clock=clock,
        )
        # Only where batches are padded does a wider choice of lengths pay for the longer wait.
        window = 1.0 if scorer.backend.max_padding is None or scorer.backend.max_batch_pairs == 1 else 2.0
        self._in_flight = InFlight(Scheduler(window_batches=window, fair=options.fair), join)
        self._changed = threading.Condition()
        self._health = Health(clock)
        self._encoder = RequestEncoder(
            scorer.encoder,
            self._in_flight,
            self._changed,
            name=name,
            version=version,
            cache=cache,
            shared_cache=options.shared_cache,
            observer=self._observer,
            clock=clock,
            on_error=lambda request, error: self.cancel(request, error, "failed"),
        )
        self._steps = StepLoop(
            name,
            self._in_flight,
            self._changed,
            runner,
            self._health,
            cache=cache,
            observer=self._observer,
            clock=clock,
        )
        self._numbers = itertools.count()
        self._room = AdmittedRoom()
        self._draining = False
        self._steps.start()

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait or are being computed; those of texts that are not encoded yet are estimated."""
        return self._in_flight.waiting_tokens + self._steps.tokens + self._room.tokens

    @property
    def queued_requests(self) -> int:
        """Requests that are not answered yet."""
        return len(self._in_flight)

    def estimate_tokens(self, groups: Sequence[QueryGroup], truncation: TruncationOptions) -> int:
        """Return about the tokens that scoring the groups would compute."""
        return self._encoder.estimate_tokens(groups, truncation)

    def admit(self, requests: Sequence[ScoreRequest]) -> BatchAdmission:
        """Admit several requests of one caller at once, or none of them; each is then submitted with the admission.

        Args:
            requests: requests, at least one; they have the same tenant and retry key.

        Raises:
            RerankdError: as `submit`, for all their tokens together.
        """
        estimate = sum(self._encoder.estimate_tokens(request.all_groups, request.truncation) for request in requests)
        least_urgent = max(requests, key=lambda request: request.priority)
        now = self._clock()
        with self._changed:
            self._check_running(now)
            self._admit(least_urgent, estimate, now)
            return self._room.admit(estimate)

    def release(self, admission: BatchAdmission) -> None:
        """Give back what the requests of an admission did not take."""
        with self._changed:
            admission.release()

    def submit(
        self, request: ScoreRequest, *, admitted: bool = False, admission: BatchAdmission | None = None
    ) -> EngineRequest:
        """Queue a request; returns at once.

        Args:
            request: pairs to score.
            admitted: True bypasses admission control, for probes and warm-up.
            admission: admission that the request is part of; None, or one of another engine, for none.

        Returns:
            The request in the engine; its `future` gets the `ScoreResult`, or a `RerankdError`.

        Raises:
            OverloadedError: the queue is full (load shedding).
            DeadlineExceededError: the request cannot be computed before its deadline.
            UnavailableError: the engine is draining, or has crashed and is not up again yet.
        """
        estimate = self._encoder.estimate_tokens(request.groups, request.truncation)
        now = self._clock()
        with self._changed:
            self._check_running(now)
            if admission is not None and admission.room is self._room:
                admission.take(estimate)
            elif not admitted:
                self._admit(request, estimate, now)
            queued = EngineRequest(request, next(self._numbers), estimate, now, admission)
            self._in_flight.add(queued)
        self._encoder.executor.submit(self._encoder.encode_slice, queued)
        return queued

    def _check_running(self, now: float) -> None:
        if self._steps.stopped:
            raise UnavailableError("The model is closed.", hint="Send the request again.")
        if self._health.check_restart(now):
            _log.warning("%s: restarting the engine's threads", self.name)
            self._steps.start()
        if self._draining:
            raise UnavailableError("The model is being closed.", hint="Send the request again.")

    def _admit(self, request: ScoreRequest, estimate: int, now: float) -> None:
        background = self._in_flight.background_tokens
        if request.background:
            self.admission.admit_background(estimate, queued=background)
            return
        try:
            queued = max(0, self.queued_tokens - background)
            if queued > (limit := self.admission.request_limit):  # one large request must not shut out all others
                queued -= self._in_flight.excess_tokens(limit)
            # What is less urgent waits behind the request, and is older: half of every step is its own. It counts only
            # as far as it exceeds a whole queue, so that two queues are the most that waits.
            less_urgent = self._in_flight.less_urgent_tokens(request.priority)
            queued = max(0, queued - min(less_urgent, self.admission.capacity))
            self.admission.admit(
                estimate, request.retry_key, request.tenant, queued=queued, now=now, deadline=request.deadline
            )
        except RerankdError as error:
            self._observer.refused(self.name, error.code)
            raise

    def cancel(self, request: EngineRequest, error: RerankdError | None = None, reason: str = "cancelled") -> None:
        """Drop what was not computed yet of a request and fail its future.

        Args:
            request: request to cancel.
            error: error of the future; None for `RequestCancelledError`.
            reason: label of the dropped pairs in the metrics.
        """
        with self._changed:
            self._steps.drop(request, reason)
        request.fail(error or RequestCancelledError("The client disconnected."))

    @property
    def crashed(self) -> bool:
        """True if a thread crashed and was not restarted yet."""
        return self._health.crashed

    @property
    def crashes(self) -> int:
        """Crashes since the last score."""
        return self._health.crashes

    @property
    def last_success(self) -> float | None:
        """Time of the last score on the engine's clock; None before the first."""
        return self._health.last_success

    @property
    def running(self) -> bool:
        """True while a step is computed."""
        return self._steps.running is not None

    @property
    def stalled(self) -> float:
        """Seconds that the running step takes beyond three times its expected time; 0 if it does not."""
        step = self._steps.running
        if step is None:
            return 0.0
        speed = self.admission.rate.tokens_per_second
        return self._health.stalled_seconds(step.tokens, self._steps.running_since, speed)

    def probe(self) -> EngineRequest:
        """Score a pair through the queue, past the cache, to see whether the engine works.

        Raises:
            UnavailableError: the engine is closed or has crashed.
        """
        if self.stalled > STALL_SECONDS:
            self._steps.crash(TimeoutError("a batch did not finish in time"), self._health.generation)
        return self.submit(probe_request(next(self._numbers)), admitted=True)

    def warm_up(self) -> None:
        """Compute short and long texts, so that the first request is not slow and the speed is known.

        Raises:
            RerankdError: the model cannot score.
        """
        for request in warm_up_requests(self.scorer.backend.workers):
            self.submit(request, admitted=True).future.result(WARM_UP_SECONDS)

    def close(self, timeout: float = 60.0) -> bool:
        """Accept no more requests, finish the accepted ones, end the threads.

        Args:
            timeout: seconds to wait for the requests; those that are not finished then fail.

        Returns:
            True if all were finished.
        """
        with self._changed:
            self._draining = True
            finished = self._changed.wait_for(lambda: not self._in_flight, timeout)
            unfinished = self._in_flight.clear()
            self._steps.stopped = True
            self._changed.notify_all()
        for request in unfinished:
            request.fail(UnavailableError("The model was closed.", hint="Send the request again."))
        self._encoder.executor.shutdown()
        return finished
