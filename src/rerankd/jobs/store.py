"""Job stores: `SqliteStore` for one machine, `RedisStore` for many.

Both guarantee:

- A part has at most one valid lease. A lease that is not renewed expires and the part goes to another worker; a result
  that arrives without the current fencing token is rejected. Work is at-least-once, its effect exactly once.
- Interactive parts are served before bulk parts; within a priority, tenants are served round robin.
- A job that has ended does not change until it is retried or deleted.

Methods block, may be called from any thread, and raise `UnavailableError` if the store cannot be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from rerankd.errors import ConflictError, OverloadedError
from rerankd.jobs.job import Claim, Job, NewJob, State, WebhookDelivery

WORKER_LOST = b'{"error":{"code":"worker_lost","message":"Every worker that held a lease of this part was lost."}}'
WORKER_LOST_ERROR = "A part lost the lease of its worker too often."
CANCELLED_ERROR = "The job was cancelled."
EXPIRED_ERROR = "The job's deadline has passed."
DELIVERY_LEASE_SECONDS = 60.0
# Jobs by their final state and those that went to the dead-letter queue; webhooks by the outcome of an attempt.
TOTALS = ("succeeded", "failed", "cancelled", "expired", "dead", "webhook_delivered", "webhook_failed", "webhook_lost")


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Number of parts that wait for a worker, by priority."""

    interactive: int
    bulk: int


class PartResult(NamedTuple):
    """Result of a part.

    Attributes:
        requests: number of its requests.
        content: JSON of their rows, or of one error for all of them; None if there is no result yet.
    """

    requests: int
    content: bytes | None


class JobStore(Protocol):
    """Store of jobs, their parts and their results."""

    def create(self, job: NewJob) -> tuple[Job, bool]:
        """Store a job.

        Returns:
            The job and True; or the earlier job with the same idempotency key, and False.

        Raises:
            ConflictError: the idempotency key was used for other requests.
            OverloadedError: too many unfinished jobs.
        """
        ...

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None if there is no such job."""
        ...

    def jobs(self, *, tenant: str | None = None, states: Collection[State] = (), limit: int = 100) -> list[Job]:
        """Return jobs, newest first, of one tenant or all, in some states or any."""
        ...

    def results(self, job_id: str) -> list[PartResult]:
        """Return the results of the parts, in order."""
        ...

    def claim(self, *, bulk: bool = True) -> Claim | None:
        """Lease the next part to the caller; None if there is none.

        Args:
            bulk: False for an interactive part only.
        """
        ...

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Renew leases.

        Returns:
            For each claim, False if the lease is lost or the job has ended.
        """
        ...

    def finish(
        self,
        claim: Claim,
        result: bytes,
        done: int,
        failed: int,
        error: str = "",
        *,
        reason: str = "",
        computed: int = 0,
    ) -> Job | None:
        """Store the result of a part and end its lease.

        Args:
            claim: the part.
            result: rows as JSON.
            done: requests with a result.
            failed: requests with an error.
            error: reason that failed requests have no attempts left; if set, the job goes to the dead-letter queue.
            reason: reason of the first failed request; the job shows it, unless it has one already.
            computed: tokens that were computed for it.

        Returns:
            The job, or None if the result was rejected because the lease is lost or the job has ended.
        """
        ...

    def requeue(self, claim: Claim, delay: float, *, count_attempt: bool) -> bool:
        """Release a part, to be claimed again after a delay.

        Args:
            claim: the part.
            delay: seconds.
            count_attempt: False if this attempt does not count as one.

        Returns:
            False if the lease was lost already.
        """
        ...

    def cancel(self, job_id: str) -> Job | None:
        """Cancel a job that has not ended; None if there is no such job."""
        ...

    def expire(self, job_id: str) -> Job | None:
        """Expire a job whose deadline has passed; None if there is no such job."""
        ...

    def retry(self, job_id: str) -> Job | None:
        """Queue the failed parts of a job again; None if there is no such job."""
        ...

    def interrupted_requests(self, job_id: str) -> int:
        """Return the requests of parts that were begun and have no result; 0 if there is no such job."""
        ...

    def delete(self, job_id: str) -> bool:
        """Delete a job that has ended; False if it has not, or there is no such job."""
        ...

    def dead_letters(self, limit: int = 100) -> list[Job]:
        """Return the jobs with a part in the dead-letter queue, newest first."""
        ...

    def reap_expired_leases(self) -> int:
        """Take parts back from silent workers, expire late jobs, and delete jobs past their retention.

        Returns:
            Number of parts whose lease had expired.
        """
        ...

    def totals(self) -> dict[str, int]:
        """Return the counts of `TOTALS` since the store was made, over all services and workers; 0 if absent."""
        ...

    def queue_depth(self) -> QueueDepth:
        """Return the number of parts that can be claimed now."""
        ...

    def due_deliveries(self, limit: int = 10) -> list[WebhookDelivery]:
        """Return webhooks to deliver now; each is leased to the caller for `DELIVERY_LEASE_SECONDS`."""
        ...

    def record_delivery(self, job_id: str, *, delivered: bool, retry_after: float | None, error: str = "") -> None:
        """Record the outcome of a delivery.

        Args:
            job_id: the job.
            delivered: True if the receiver accepted it.
            retry_after: seconds until the next attempt; None for no other attempt.
            error: reason of a failure.
        """
        ...

    def subscribe(self, on_end: Callable[[str], None]) -> Callable[[], None]:
        """Call `on_end` with the id of every job that ends; return a function that stops it."""
        ...

    def close(self) -> None:
        """Close files and connections."""
        ...


def delivery_outcome(*, delivered: bool, retry_after: float | None) -> str:
    """Return the name in `TOTALS` of the outcome of a delivery."""
    return "webhook_delivered" if delivered else "webhook_lost" if retry_after is None else "webhook_failed"


def overloaded(*, by_tenant: bool = False) -> OverloadedError:
    """Return the error of a store that is full, or full for one tenant."""
    if by_tenant:
        return OverloadedError(
            "Too many jobs of this API key are unfinished.",
            hint="Wait for some to end, or raise max_jobs_share.",
            retry_after=30,
        )
    return OverloadedError(
        "Too many jobs are unfinished.", hint="Wait for some to end, or raise max_jobs and max_jobs_mb.", retry_after=30
    )


def idempotency_conflict() -> ConflictError:
    """Return the error of an idempotency key that was used for other requests."""
    return ConflictError(
        "This idempotency key was used for another submission.", hint="Use a new key for each submission."
    )
