"""Options of job stores and workers, as plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Limits of a job store.

    Attributes:
        max_jobs: unfinished jobs at most.
        max_bytes: payload of unfinished jobs at most, in bytes.
        tenant_share: largest share of both limits that the jobs of one tenant may take; jobs without a tenant have all.
        retention_seconds: time that a finished job is kept.
        attempts: attempts of a failing part.
        lease_seconds: time after which a part that its worker does not renew goes to another worker.
        max_lost_leases: lost leases after which a part goes to the dead-letter queue: it probably kills workers.
    """

    max_jobs: int = 10_000
    max_bytes: int = 2_000_000_000
    tenant_share: float = 1.0
    retention_seconds: float = 86_400.0
    attempts: int = 3
    lease_seconds: float = 30.0
    max_lost_leases: int = 10

    def tenant_limits(self, tenant: str) -> tuple[int, int]:
        """Return the number of unfinished jobs of one tenant at most, and the bytes of their payloads.

        Example:
            >>> StoreOptions(max_jobs=10, max_bytes=100, tenant_share=0.5).tenant_limits("a")
            (5, 50)
        """
        share = self.tenant_share if tenant else 1.0
        return max(1, int(self.max_jobs * share)), max(1, int(self.max_bytes * share))


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
