"""Where jobs are kept. `SqliteStore` is for one machine, `RedisStore` for many; both keep these promises:

- a part is in one worker's hands at a time; one whose lease runs out goes to another, and what the first brings then is
  not accepted: every request counts once;
- interactive parts go before bulk ones; among equals, owners take turns;
- a job that is final stays as it is until it expires or is retried.

Methods block; `UnavailableError` says that the store cannot be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from rerankd.errors import ConflictError, OverloadedError
from rerankd.jobs.job import Claim, Job, NewJob, State, WebhookDelivery

LOST = b'{"error":{"code":"worker_lost","message":"The workers that had it did not come back."}}'
DELIVERY_LEASE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Parts that nobody has taken."""

    interactive: int
    bulk: int


class PartResult(NamedTuple):
    """What came of a part: rows of its requests as JSON, one error for all of them, or None for nothing yet."""

    requests: int
    content: bytes | None


class JobStore(Protocol):
    """Keeps jobs; every method may be called from any thread."""

    def create(self, job: NewJob) -> tuple[Job, bool]:
        """Keep a job; with an idempotency key that is known, the job of then and False.

        Raises:
            ConflictError: the idempotency key was used for something else.
            OverloadedError: too many unfinished jobs.
        """
        ...

    def get(self, job: str) -> Job | None:
        """A job as it stands."""
        ...

    def jobs(self, *, owner: str | None = None, states: Collection[State] = (), limit: int = 100) -> list[Job]:
        """Jobs, the newest first."""
        ...

    def results(self, job: str) -> list[PartResult]:
        """What came of each part, in order."""
        ...

    def claim(self, *, bulk: bool = True) -> Claim | None:
        """Take the part whose turn it is; without `bulk`, only an interactive one."""
        ...

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Say that they are being worked on; False for those that are no longer this worker's, or wanted."""
        ...

    def finish(self, claim: Claim, result: bytes, done: int, failed: int, error: str = "") -> Job | None:
        """Hand a part's result in; None if it was no longer wanted from this worker.

        `error` says that the failed requests had their attempts: the job is on the list of the dead.
        """
        ...

    def requeue(self, claim: Claim, seconds: float, *, count_attempt: bool) -> bool:
        """Let a part wait so long and be tried again; `counted` says whether this was one of its attempts."""
        ...

    def cancel(self, job: str) -> Job | None:
        """End a job that is not final; None if there is no such job."""
        ...

    def expire(self, job: str) -> Job | None:
        """End a job whose deadline has passed."""
        ...

    def retry(self, job: str) -> Job | None:
        """Queue the failed parts of a job again; None if there is no such job."""
        ...

    def delete(self, job: str) -> bool:
        """Forget a job; it must be final."""
        ...

    def dead_letters(self, limit: int = 100) -> list[Job]:
        """Jobs of which a part was set aside, the newest first."""
        ...

    def reap_expired_leases(self) -> int:
        """Take parts from silent workers, end what is too late, forget what has expired; how many parts came back."""
        ...

    def queue_depth(self) -> QueueDepth:
        """Parts that could be claimed now."""
        ...

    def due_deliveries(self, limit: int = 10) -> list[WebhookDelivery]:
        """Announcements to make now; each is the caller's for a minute."""
        ...

    def record_delivery(self, job: str, *, delivered: bool, again: float | None) -> None:
        """Note how an announcement went; `again` is the number of seconds until the next try, None for never."""
        ...

    def subscribe(self, ended: Callable[[str], None]) -> Callable[[], None]:
        """Call `ended` with the id of every job that ends, from any process; returns what stops that."""
        ...

    def close(self) -> None:
        """Let files and connections go."""
        ...


def full() -> OverloadedError:
    """There are as many unfinished jobs as there may be."""
    return OverloadedError(
        "Too many jobs are unfinished.", hint="Wait for some to end, or raise max_jobs and max_jobs_mb.", retry_after=30
    )


def conflict() -> ConflictError:
    """An idempotency key was used twice."""
    return ConflictError(
        "This idempotency key was used for another submission.", hint="Use a new key for each submission."
    )
