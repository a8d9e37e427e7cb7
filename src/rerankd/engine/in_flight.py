"""Who waits for what: jobs, the flights of their pairs, and the scheduler that orders those.

No threads: the engine holds its lock around every call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rerankd.engine.request import InFlightPair, Job
from rerankd.engine.runner import Outcome
from rerankd.engine.scheduler import QueuedSequence, Scheduler
from rerankd.errors import RerankdError
from rerankd.scoring.scorer import best_chunk
from rerankd.types import PairScore


@dataclass(slots=True)
class BatchResult:
    """What a computed batch brought.

    Attributes:
        scores: of pairs whose last window landed and that may be cached.
        done: jobs that have all their scores; they are ended.
        failed: jobs of pairs that got no score, with the reason; they are ended.
        dropped: tickets of the failed that nobody wants any more.
    """

    scores: dict[bytes, PairScore] = field(default_factory=dict)
    done: list[Job] = field(default_factory=list)
    failed: dict[Job, RerankdError] = field(default_factory=dict)
    dropped: int = 0


class InFlight:
    """The engine's books.

    Args:
        scheduler: gets the tickets.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.unencoded = 0
        self._jobs: dict[Job, None] = {}
        self._flights: dict[bytes, InFlightPair] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: object) -> bool:
        return job in self._jobs

    @property
    def waiting_tokens(self) -> int:
        """Tokens that were not handed out, those of texts not encoded yet estimated."""
        return self.unencoded + self.scheduler.waiting_tokens

    def excess(self, share: int) -> int:
        """Tokens by which requests exceed a share each, those in the background apart."""
        return sum(max(0, job.unencoded + job.outstanding - share) for job in self._jobs if not job.request.background)

    @property
    def background(self) -> int:
        """Tokens of requests that nobody waits for."""
        return sum(job.unencoded + job.outstanding for job in self._jobs if job.request.background)

    def open(self, job: Job) -> None:
        """A request came in."""
        self._jobs[job] = None
        self.unencoded += job.unencoded

    def encoded(self, job: Job, estimate: int, *, last: bool) -> list[Job]:
        """A slice of a job was encoded that had been estimated so; returns the job if it needs nothing more."""
        if job in self._jobs:
            self.unencoded -= estimate
            job.unencoded -= estimate
            job.missing -= last
        return self._finish([job])

    def join(self, job: Job, key: bytes) -> bool:
        """Wait for a pair that is on its way already; whoever has the turn first gets it computed."""
        flight = self._flights.get(key)
        if flight is None or job not in self._jobs:
            return False
        if job not in flight.jobs:
            flight.jobs.append(job)
            job.missing += 1
            self.scheduler.add(job, job.request.tenant, flight.tickets, job.request.deadline)
        return True

    def take_off(self, job: Job, flights: Iterable[InFlightPair]) -> None:
        """Queue new pairs of a job."""
        tickets = []
        for flight in flights:
            flight.tickets = [QueuedSequence(len(window), (flight, n)) for n, window in enumerate(flight.windows)]
            flight.jobs.append(job)
            flight.bringer = job
            self._flights[flight.key] = flight
            job.missing += 1
            job.computed_tokens += flight.tokens
            job.outstanding += flight.tokens
            tickets += flight.tickets
        self.scheduler.add(job, job.request.tenant, tickets, job.request.deadline)

    def land(self, tickets: Iterable[QueuedSequence], outcomes: Iterable[Outcome]) -> BatchResult:
        """Write what a batch gave."""
        landing = BatchResult()
        touched: list[Job] = []
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            touched += self._land(ticket, outcome, landing)
        landing.done = self._finish(touched)
        landing.dropped = sum(self.end(job) for job in landing.failed)
        return landing

    def _land(self, ticket: QueuedSequence, outcome: Outcome, landing: BatchResult) -> list[Job]:
        flight: InFlightPair = ticket.payload[0]
        window: int = ticket.payload[1]
        if isinstance(outcome, RerankdError):
            landing.failed.update(dict.fromkeys(flight.jobs, outcome))
            self._flights.pop(flight.key, None)
            return []
        flight.logits[window] = outcome
        if len(flight.logits) < len(flight.windows):
            return []
        score = best_chunk(flight.windows, list(flight.logits.values()))
        if flight.cache:
            landing.scores[flight.key] = score
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
        if flight.bringer is not None:
            flight.bringer.outstanding -= flight.tokens
        for job in flight.jobs:
            job.land(flight.key, score)
            job.missing -= 1
        return list(flight.jobs)

    def _finish(self, jobs: Iterable[Job]) -> list[Job]:
        done = [job for job in dict.fromkeys(jobs) if job in self._jobs and job.missing == 0]
        for job in done:
            self.end(job)
        return done

    def end(self, job: Job) -> int:
        """Forget a job; returns how many of its tickets were dropped before they were handed out."""
        if job not in self._jobs:
            return 0
        del self._jobs[job]
        self.unencoded -= job.unencoded
        dropped = self.scheduler.remove(job)
        for key in job.places:
            flight = self._flights.get(key)
            if flight is not None and job in flight.jobs:
                flight.jobs.remove(job)
                if not flight.jobs:
                    del self._flights[key]
        return dropped

    def late(self, now: float) -> list[Job]:
        """Jobs whose deadline has passed."""
        return [job for job in self.scheduler.expire(now) if isinstance(job, Job)]

    def clear(self) -> list[Job]:
        """End every job; returns them."""
        jobs = list(self._jobs)
        for job in jobs:
            self.end(job)
        self._flights.clear()
        return jobs
