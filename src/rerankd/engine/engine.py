"""One model at work: encodes requests, lets the scheduler choose, computes, and answers.

Threads: `encode` turns texts into ids, a slice of a request at a time; `infer` computes; `prepare` picks the next batch
while one is computed. All share one lock around the scheduler and the flights; no lock is held while anything is
tokenised or computed.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import InvalidStateError, ThreadPoolExecutor
from dataclasses import dataclass

from rerankd._common.logging import logger
from rerankd.engine.admission import Admission, TokenEstimate
from rerankd.engine.cache import ScoreCache, pair_keys
from rerankd.engine.in_flight import InFlight
from rerankd.engine.observer import EngineObserver
from rerankd.engine.request import InFlightPair, Job, QueryGroup, ScoreRequest
from rerankd.engine.runner import BatchRunner
from rerankd.engine.scheduler import QueuedSequence, Scheduler
from rerankd.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    RequestCancelledError,
    RerankdError,
    UnavailableError,
)
from rerankd.scoring.encoder import EncodedPair, TruncationOptions
from rerankd.scoring.scorer import Scorer
from rerankd.types import PairScore

_log = logger(__name__)
SLICE_PAIRS = 128
SLICE_CHARACTERS = 500_000
RESTART_SECONDS = 1.0
STALL_SECONDS = 30.0
WARM_UP_SECONDS = 300.0
PROBE_TENANT = "~probe"
WARM_UP = ("What does a panda eat? 熊猫吃什么？", "Pandas eat bamboo. 熊猫吃竹子。 ")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine works.

    Attributes:
        max_batch_tokens: tokens computed together at most.
        batch_seconds: computing time that a batch aims at.
        max_queue_seconds: time within which an accepted request is answered.
        fair: whether requests and keys take turns.
    """

    max_batch_tokens: int = 16384
    batch_seconds: float = 0.05
    max_queue_seconds: float = 30.0
    fair: bool = True


@dataclass(frozen=True, slots=True)
class _Batch:
    tickets: list[QueuedSequence]
    plan: list[list[int]]


class Engine:
    """Batches across requests for one model.

    Args:
        name: what the model is called, for logs and the observer.
        version: changes whenever scores may; part of the cache's keys.
        scorer: encoder and backend.
        options: budgets.
        cache: where scores are kept; None for nowhere.
        observer: told what happens.
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
        cache: ScoreCache | None = None,
        observer: EngineObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        options = options or EngineOptions()
        self.name, self.version, self.scorer = name, version, scorer
        self.admission = Admission(options.max_queue_seconds)
        self.estimate = TokenEstimate()
        self._cache, self._observer, self._clock = cache, observer or EngineObserver(), clock
        self._batch_seconds = options.batch_seconds
        self._runner = BatchRunner(
            scorer,
            max_batch_tokens=options.max_batch_tokens,
            batch_seconds=options.batch_seconds,
            rate=self.admission.rate,
            observer=self._observer,
            model=name,
        )
        # Only where batches are padded does a wider choice of lengths pay for the longer wait.
        window = 1.0 if scorer.backend.max_padding is None or scorer.backend.max_batch_pairs == 1 else 2.0
        self._board = InFlight(Scheduler(window_batches=window, fair=options.fair))
        self._changed = threading.Condition()
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix=f"encode {name}")
        self._prepared: _Batch | None = None
        self._running: _Batch | None = None
        self._running_since = 0.0
        self._numbers = itertools.count()
        self._draining = self._stopped = False
        self._generation = 0
        self._death: tuple[float, BaseException] | None = None
        self.last_success: float | None = None
        self.crashes = 0  # since the last success
        self._start()

    # -- taking requests

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait or are being computed, those of texts not encoded yet estimated."""
        running = sum(ticket.length for ticket in self._running.tickets) if self._running else 0
        prepared = sum(ticket.length for ticket in self._prepared.tickets) if self._prepared else 0
        return self._board.waiting_tokens + running + prepared

    @property
    def queued_requests(self) -> int:
        """Requests that are not answered yet."""
        return len(self._board)

    def estimate_tokens(self, groups: Sequence[QueryGroup], truncation: TruncationOptions) -> int:
        """About the tokens that scoring these would compute."""
        windows = truncation.max_chunks if truncation.long_documents == "chunk" else 1
        special = self.scorer.encoder.special
        longest = truncation.max_length * windows
        return sum(self.estimate(documents, query, longest, special) for query, documents in groups)

    def submit(self, request: ScoreRequest, *, admitted: bool = False) -> Job:
        """Queue a request; returns at once.

        Args:
            request: what to score.
            admitted: True passes by the bound of the queue, for probes and warm-up.

        Returns:
            The job; its `future` gets the `ScoreResult`, or a `RerankdError`.

        Raises:
            OverloadedError: the queue is full.
            DeadlineExceededError: the request cannot be done in its time.
            UnavailableError: the engine is draining, or has died and is not up again yet.
        """
        estimate = self.estimate_tokens(request.groups, request.truncation)
        now = self._clock()
        with self._changed:
            self._check_alive(now)
            if self._draining:
                raise UnavailableError("The model is being closed.", hint="Send the request again.")
            if not admitted:
                self._admit(request, estimate, now)
            job = Job(request, next(self._numbers), estimate, now)
            self._board.open(job)
        self._encoder.submit(self._encode, job)
        return job

    def _admit(self, request: ScoreRequest, estimate: int, now: float) -> None:
        background = self._board.background
        if request.background:
            self.admission.admit_background(estimate, queued=background)
            return
        try:
            queued = max(0, self.queued_tokens - background)
            if queued > (share := self.admission.share):  # one large request must not shut out all others
                queued -= self._board.excess(share)
            self.admission.admit(
                estimate, request.retry_key, request.tenant, queued=queued, now=now, deadline=request.deadline
            )
        except RerankdError as error:
            self._observer.refused(self.name, error.code)
            raise

    def cancel(self, job: Job, error: RerankdError | None = None, reason: str = "cancelled") -> None:
        """Drop what was not computed yet of a job and fail its future."""
        with self._changed:
            self._end(job, reason)
        _fail(job, error or RequestCancelledError("The caller went away."))

    # -- encoding

    def _encode(self, job: Job) -> None:
        """Encode the job's next slice and queue it; then the turn is another job's."""
        try:
            if job in self._board:
                self._encode_slice(job)
        except RerankdError as error:
            self.cancel(job, error, "failed")
        except BaseException as error:
            _log.exception("%s: encoding failed", self.name, exc_info=error)
            self.cancel(job, RerankdError("The texts could not be tokenised."), "failed")

    def _encode_slice(self, job: Job) -> None:
        started = self._clock()
        request = job.request
        todo = _slice(request.groups, job.next_slice)
        job.next_slice += len(todo)
        last = job.next_slice >= request.pairs
        estimate = job.unencoded if last else job.estimate * len(todo) // max(request.pairs, 1)
        for group, members in itertools.groupby(todo, key=lambda place: place[0]):
            self._encode_group(job, group, [place for _, place in members])
        with self._changed:
            job.encode_seconds += self._clock() - started
            done = self._board.encoded(job, estimate, last=last)
            self._changed.notify_all()
        self._observer.encoded(self.name, self._clock() - started)
        self._answer(done)
        if not last:
            self._encoder.submit(self._encode, job)

    def _encode_group(self, job: Job, group: int, places: list[int]) -> None:
        """Look scores up, join pairs that are on their way, encode and queue the rest."""
        query, documents = job.request.groups[group]
        truncation = job.request.truncation
        keys = pair_keys(self.version, truncation, query, [documents[place] for place in places])
        wanted: dict[bytes, list[tuple[int, int]]] = {}
        for key, place in zip(keys, places, strict=True):
            wanted.setdefault(key, []).append((group, place))
        found = self._cache.get(list(wanted)) if self._cache is not None and job.request.cache else {}
        with self._changed:
            if job not in self._board:
                return
            for key, own in wanted.items():
                job.places.setdefault(key, []).extend(own)
                if key in found:
                    job.land(key, found[key])
                    job.cached += len(own)
            missing = [key for key in wanted if key not in found and not self._board.join(job, key)]
        if self._cache is not None and job.request.cache:
            self._observer.cached(self.name, len(found), len(wanted) - len(found))
        texts = [documents[wanted[key][0][1]] for key in missing]
        encoded = self.scorer.encoder.encode(query, texts, truncation)
        if not job.request.allow_truncation and (cut := _first_cut(encoded)) is not None:
            raise document_too_long(wanted[missing[cut]][0][1], truncation)
        flights = [InFlightPair(key, windows, job.request.cache) for key, windows in zip(missing, encoded, strict=True)]
        with self._changed:
            if job in self._board:
                job.queued = job.queued or self._clock()
                self._board.take_off(job, flights)
        if texts:
            guess = self.estimate_tokens([(query, texts)], truncation)
            self.estimate.learn(guess, sum(flight.tokens for flight in flights))

    # -- computing

    def _start(self) -> None:
        self._generation += 1
        self._death = None
        for work in (self._infer, self._prepare):
            name = f"{work.__name__.strip('_')} {self.name}"
            threading.Thread(target=self._guarded, args=(work, self._generation), name=name, daemon=True).start()

    def _guarded(self, work: Callable[[int], None], generation: int) -> None:
        try:
            work(generation)
        except BaseException as error:
            self._die(error, generation)

    def _prepare(self, generation: int) -> None:
        """Choose the next batch while one is being computed."""
        while True:
            with self._changed:
                while self._current(generation) and not (
                    self._running and not self._prepared and self._board.scheduler
                ):
                    self._changed.wait()
                if not self._current(generation):
                    return
                self._prepared, late = self._next_batch()
            self._give_up(late)

    def _infer(self, generation: int) -> None:
        """Compute batch after batch."""
        while True:
            with self._changed:
                while self._current(generation) and not self._prepared and not self._board.scheduler:
                    self._changed.wait()
                if not self._current(generation):
                    return
                late: list[Job] = []
                if self._prepared is None:
                    self._prepared, late = self._next_batch()
                batch, self._prepared = self._prepared, None
                batch = self._still_wanted(batch)
                self._running, self._running_since = batch, self._clock()
                for job in {job for ticket in batch.tickets for job in ticket.payload[0].jobs} if batch else ():
                    job.started = job.started or self._running_since
                self._changed.notify_all()
            self._give_up(late)
            if batch is not None:
                self._compute(batch, generation)

    def _current(self, generation: int) -> bool:
        return generation == self._generation and not self._stopped

    def _next_batch(self) -> tuple[_Batch | None, list[Job]]:
        late = self._board.late(self._clock())
        for job in late:
            self._end(job, "deadline")
        tickets = self._board.scheduler.next_batch(self._runner.budget)
        return (self._planned(tickets) if tickets else None), late

    def _planned(self, tickets: list[QueuedSequence]) -> _Batch:
        return _Batch(tickets, self._runner.plan([_sequence(ticket) for ticket in tickets]))

    def _still_wanted(self, batch: _Batch | None) -> _Batch | None:
        """The batch without pairs that nobody waits for any more."""
        if batch is None or all(ticket.wanted for ticket in batch.tickets):
            return batch
        tickets = [ticket for ticket in batch.tickets if ticket.wanted]
        self._observer.dropped(self.name, len(batch.tickets) - len(tickets), "cancelled")
        return self._planned(tickets) if tickets else None

    def _compute(self, batch: _Batch, generation: int) -> None:
        sequences = [_sequence(ticket) for ticket in batch.tickets]
        started = self._clock()
        outcomes = self._runner.run(sequences, batch.plan)
        seconds = self._clock() - started
        tokens = sum(map(len, sequences))
        padded = sum(len(part) * max(len(sequences[n]) for n in part) for part in batch.plan)
        with self._changed:
            if generation != self._generation:
                return
            self._running = None
            if any(isinstance(outcome, float) for outcome in outcomes):
                self.last_success = self._clock()
                self.crashes = 0
                self._measure(tokens, seconds)
            landing = self._board.land(batch.tickets, outcomes)
            self._changed.notify_all()
        self._observer.batch(self.name, len(sequences), tokens, padded, seconds)
        if landing.dropped:
            self._observer.dropped(self.name, landing.dropped, "failed")
        for job, error in landing.failed.items():
            _fail(job, error)
        self._answer(landing.done)
        self._keep(landing.scores)

    def _measure(self, tokens: int, seconds: float) -> None:
        """Learn the speed. Small quick batches tell of the overhead of a call instead, unless they are faster."""
        rate = self.admission.rate
        large = 2 * tokens >= self._runner.budget or 2 * seconds >= self._batch_seconds
        if large or tokens > rate.tokens_per_second * seconds:
            rate.observe(tokens, seconds)

    def _keep(self, scores: dict[bytes, PairScore]) -> None:
        if self._cache is None or not scores:
            return
        try:
            self._cache.put(scores)
        except Exception as error:  # a cache that fails must not take the loop along
            _log.exception("%s: scores could not be kept", self.name, exc_info=error)

    # -- ending

    def _answer(self, jobs: list[Job]) -> None:
        now = self._clock()
        for job in jobs:
            scored = job.scored(now)
            with contextlib.suppress(InvalidStateError):  # cancelled in this moment
                job.future.set_result(scored)

    def _end(self, job: Job, reason: str) -> None:
        """Forget a job; the lock is held."""
        if dropped := self._board.end(job):
            self._observer.dropped(self.name, dropped, reason)
        self._changed.notify_all()

    def _give_up(self, late: list[Job]) -> None:
        for job in late:
            _fail(job, DeadlineExceededError("The request's time was up before it was computed."))

    def _die(self, error: BaseException, generation: int) -> None:
        """Fail everything that waits; `revive` starts again."""
        with self._changed:
            if not self._current(generation):
                return
            _log.critical("%s: the engine's loop died; all waiting requests fail", self.name, exc_info=error)
            self._generation += 1  # whatever still runs is not listened to
            self._death = self._clock(), error
            self._prepared = self._running = None
            jobs = self._board.clear()
            self._changed.notify_all()
        self.crashes += 1
        self._observer.failed(self.name, "loop")
        for job in jobs:
            _fail(job, UnavailableError("The model stopped working.", hint="Send the request again.", retry_after=2))

    def _check_alive(self, now: float) -> None:
        """Raise while the loop is dead; start it again after a while. The lock is held."""
        if self._stopped:
            raise UnavailableError("The model is closed.", hint="Send the request again.")
        if self._death is None:
            return
        if now - self._death[0] < RESTART_SECONDS:
            raise UnavailableError("The model stopped working and is being started again.", hint="Try again.")
        _log.warning("%s: starting the engine's loop again", self.name)
        self._start()

    # -- health

    @property
    def crashed(self) -> bool:
        """True if a worker loop crashed and was not restarted yet."""
        return self._death is not None

    @property
    def running(self) -> bool:
        """Whether a batch is being computed."""
        return self._running is not None

    @property
    def stalled(self) -> float:
        """Seconds that the running batch takes beyond three times what was expected of it; 0 if it does not."""
        batch, speed = self._running, self.admission.rate.tokens_per_second
        if batch is None:
            return 0.0
        expected = sum(ticket.length for ticket in batch.tickets) / speed if speed else 5.0
        return max(0.0, self._clock() - self._running_since - 3 * expected)

    def probe(self) -> Job:
        """Score a pair through the queue, to see whether it can be done. It is never found in the cache.

        Raises:
            UnavailableError: the engine is closed or dead.
        """
        if self.stalled > STALL_SECONDS:
            self._die(TimeoutError("a batch does not end"), self._generation)
        truncation = TruncationOptions(max_length=64)
        text = f"probe {next(self._numbers)}"
        return self.submit(ScoreRequest([(text, [text])], truncation, PROBE_TENANT, cache=False), admitted=True)

    def warm_up(self) -> None:
        """Compute short and long texts, so that the first request is not slow and the speed is known.

        Raises:
            RerankdError: the model cannot score.
        """
        query, text = WARM_UP
        for repeats, documents in ((1, 1), (4, 8), (16, 8)):
            truncation = TruncationOptions(max_length=256)
            group = (query, [f"{n} {text * repeats}" for n in range(documents)])
            job = self.submit(ScoreRequest([group], truncation, PROBE_TENANT, cache=False), admitted=True)
            job.future.result(WARM_UP_SECONDS)

    def close(self, timeout: float = 60.0) -> bool:
        """Take no more requests, finish those that are here, end the threads.

        Args:
            timeout: seconds to wait for the requests; those that are not done then fail.

        Returns:
            Whether all were finished.
        """
        with self._changed:
            self._draining = True
            finished = self._changed.wait_for(lambda: not self._board, timeout)
            left = self._board.clear()
            self._stopped = True
            self._changed.notify_all()
        for job in left:
            _fail(job, UnavailableError("The model was closed.", hint="Send the request again."))
        self._encoder.shutdown()
        return finished


def _first_cut(encoded: Sequence[Sequence[EncodedPair]]) -> int | None:
    return next((n for n, windows in enumerate(encoded) if any(window.truncated for window in windows)), None)


def document_too_long(place: int, truncation: TruncationOptions) -> InvalidRequestError:
    """The error for a document that would be cut where cutting is not allowed."""
    return InvalidRequestError(
        f"Document {place} with the query is longer than {truncation.max_length} tokens, and truncation is off.",
        hint="Allow truncation, or send shorter texts.",
    )


def _sequence(ticket: QueuedSequence) -> EncodedPair:
    flight, window = ticket.payload
    sequence: EncodedPair = flight.windows[window]
    return sequence


def _slice(groups: Sequence[QueryGroup], start: int) -> list[tuple[int, int]]:
    """The next places to encode: so many pairs or characters that others do not wait long."""
    todo: list[tuple[int, int]] = []
    characters = 0
    for group, place in itertools.islice(_places(groups), start, start + SLICE_PAIRS):
        if todo and characters > SLICE_CHARACTERS:
            break
        characters += len(groups[group][1][place])
        todo.append((group, place))
    return todo


def _places(groups: Sequence[QueryGroup]) -> Iterator[tuple[int, int]]:
    for group, (_, documents) in enumerate(groups):
        for place in range(len(documents)):
            yield group, place


def _fail(job: Job, error: RerankdError) -> None:
    with contextlib.suppress(InvalidStateError):  # answered or cancelled in this moment
        job.future.set_exception(error)
