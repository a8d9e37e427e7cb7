"""Options of job stores and workers, as plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Limits of a job store.

    Attributes:
        max_jobs: unfinished jobs at most.
        max_bytes: payload of unfinished jobs at most, in bytes.
        retention_seconds: time that a finished job is kept.
        attempts: attempts of a failing part.
        lease_seconds: time after which a part that its worker does not renew goes to another worker.
        max_lost_leases: lost leases after which a part goes to the dead-letter queue: it probably kills workers.
    """

    max_jobs: int = 10_000
    max_bytes: int = 2_000_000_000
    retention_seconds: float = 86_400.0
    attempts: int = 3
    lease_seconds: float = 30.0
    max_lost_leases: int = 10


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Concurrency and limits of a worker.

    Attributes:
        slots: parts in progress at most.
        bulk_slots: parts of bulk jobs among them at most; the other slots are for interactive jobs.
        attempts: attempts of a failing part.
        lease_seconds: lease of the store, in seconds.
        request_seconds: longest time for one request of a part, in seconds.
    """

    slots: int = 16
    bulk_slots: int = 8
    attempts: int = 3
    lease_seconds: float = 30.0
    request_seconds: float = 900.0
