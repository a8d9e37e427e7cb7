"""Jobs: many rankings or scorings, cut into parts that workers take one at a time.

    queued -> running -> succeeded | failed
       `---------`-----> cancelled | expired

A job has `failed` if any of its requests has no result; the other results are kept. `rerankd jobs retry` queues the
failed parts again.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

State = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]
Priority = Literal["interactive", "bulk"]
STATES: tuple[State, ...] = get_args(State)
FINAL: frozenset[State] = frozenset({"succeeded", "failed", "cancelled", "expired"})


@dataclass(frozen=True, slots=True)
class Part:
    """A batch of requests of one job, claimed by one worker.

    Attributes:
        payload: the requests, as `rerankd.jobs.work.encode_work` writes them.
        requests: number of requests.
    """

    payload: bytes
    requests: int


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to store.

    Attributes:
        id: unguessable id.
        parts: its requests in order.
        tenant: id of the API key that submitted it; empty without keys.
        priority: `interactive` jobs are served before `bulk` ones.
        timeout: seconds after which it expires; None for no limit.
        webhook: URL that is called when the job ends.
        idempotency: idempotency key of the submission.
        fingerprint: hash of the requests; one idempotency key stands for one fingerprint.
        charged: tokens that its key's quota was charged with, an estimate; 0 without quotas.
    """

    id: str
    parts: Sequence[Part]
    tenant: str = ""
    priority: Priority = "interactive"
    timeout: float | None = None
    webhook: str | None = None
    idempotency: str | None = None
    fingerprint: str = ""
    charged: int = 0

    @property
    def size(self) -> int:
        """Size of the payloads in bytes."""
        return sum(len(part.payload) for part in self.parts)

    @property
    def requests(self) -> int:
        """Number of requests in all parts."""
        return sum(part.requests for part in self.parts)


@dataclass(frozen=True, slots=True)
class Job:
    """State of a job. Times are Unix timestamps in seconds, 0 for an event that has not happened.

    Attributes:
        total: number of requests, of which `done` have a result and `failed` an error.
        parts: number of parts.
        deadline: time at which it expires; 0 for never.
        error: reason of its state, if there is one.
        webhook: URL that is called when it ends; empty for none.
        webhook_state: `pending`, `delivered` or `failed`; empty without a webhook.
        webhook_error: reason of the last delivery that failed; empty if none has, or the last one succeeded.
        charged: tokens that its key's quota was charged with when it was submitted, an estimate; 0 without quotas.
        computed: tokens that its finished parts have computed.
    """

    id: str
    state: State
    tenant: str
    priority: Priority
    created: float
    total: int
    done: int = 0
    failed: int = 0
    parts: int = 1
    started: float = 0.0
    finished: float = 0.0
    deadline: float = 0.0
    error: str = ""
    webhook: str = ""
    webhook_state: str = ""
    webhook_error: str = ""
    charged: int = 0
    computed: int = 0

    @property
    def final(self) -> bool:
        """True if the state is final until the job is retried or deleted."""
        return self.state in FINAL


@dataclass(frozen=True, slots=True)
class Claim:
    """A part that a worker holds under a lease.

    Attributes:
        job: id of the job.
        part: number of the part in its job.
        token: fencing token; a result is accepted only with the token of the current lease.
        payload: the requests.
        attempt: number of this attempt, from 1.
        requests: number of requests.
        tenant: tenant of the job, the id of the API key that submitted it.
        priority: priority of the job.
        deadline: Unix timestamp at which the job expires; 0 for never.
    """

    job: str
    part: int
    token: str
    payload: bytes
    attempt: int
    requests: int = 1
    tenant: str = ""
    priority: Priority = "interactive"
    deadline: float = 0.0


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """A webhook to deliver for a job that has ended.

    Attributes:
        job: the job.
        attempts: deliveries that failed before this one.
    """

    job: Job
    attempts: int


def new_id() -> str:
    """Return a new unguessable job id.

    Example:
        >>> new_id().startswith("job_")
        True
    """
    return f"job_{secrets.token_urlsafe(18)}"
