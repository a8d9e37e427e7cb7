"""Job store in one SQLite file: nothing to install, durable, for the processes of one machine."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from rerankd.jobs.job import FINAL, Claim, Job, NewJob, Priority, State, WebhookDelivery
from rerankd.jobs.options import StoreOptions
from rerankd.jobs.sqlite_file import SqliteFile
from rerankd.jobs.sqlite_jobs import OPEN, JobTable
from rerankd.jobs.store import (
    CANCELLED_ERROR,
    DELIVERY_LEASE_SECONDS,
    EXPIRED_ERROR,
    JobStore,
    PartResult,
    QueueDepth,
    delivery_outcome,
)


class SqliteStore(JobStore):
    """Job store in a SQLite file.

    Args:
        path: path of the file; its folder is made.
        options: limits.
        clock: source of Unix timestamps.

    Raises:
        InvalidRequestError: the file cannot be used.

    Example:
        >>> store = SqliteStore(Path("jobs.sqlite"))  # doctest: +SKIP
        >>> store.create(NewJob(new_id(), [Part(b"[]", 0)]))  # doctest: +SKIP
    """

    def __init__(
        self, path: Path, options: StoreOptions | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._options, self._clock = options or StoreOptions(), clock
        self._db = SqliteFile(path)
        self._table = JobTable(self._db, lambda: self._clock())

    def create(self, job: NewJob) -> tuple[Job, bool]:
        """Store a job."""
        now = self._clock()
        with self._db.transaction():
            if job.idempotency is not None and (earlier := self._table.earlier(job)):
                return earlier, False
            self._table.check_room(job, self._options)
            self._table.insert(job, now)
            rows = [(job.id, n, one.requests, one.payload, job.tenant, job.priority) for n, one in enumerate(job.parts)]
            self._db.execute_many(
                "INSERT INTO part (job, number, requests, payload, owner, priority) VALUES (?, ?, ?, ?, ?, ?)", rows
            )
            return self._table.one(job.id), True

    def get(self, job_id: str) -> Job | None:
        """Return a job."""
        with self._db.reading():
            return self._table.get(job_id)

    def jobs(self, *, tenant: str | None = None, states: Collection[State] = (), limit: int = 100) -> list[Job]:
        """Return jobs, newest first."""
        where, values = ["1"], list[Any]()
        if tenant is not None:
            where, values = [*where, "owner = ?"], [*values, tenant]
        if states:
            where, values = [*where, f"state IN ({', '.join('?' * len(states))})"], [*values, *states]
        return self._table.select(f"{' AND '.join(where)} ORDER BY created DESC, rowid DESC LIMIT ?", (*values, limit))

    def results(self, job_id: str) -> list[PartResult]:
        """Return the results of the parts."""
        with self._db.reading():
            rows = self._db.execute("SELECT requests, result FROM part WHERE job = ? ORDER BY number", (job_id,))
            return [PartResult(*row) for row in rows]

    def claim(self, *, bulk: bool = True) -> Claim | None:
        """Lease the next part."""
        now = self._clock()
        priorities: tuple[Priority, ...] = ("interactive", "bulk") if bulk else ("interactive",)
        with self._db.transaction():
            self._table.expire_late(now)
            for priority in priorities:
                # Round robin: the tenant that was served longest ago, or never, is next.
                row = self._db.execute(
                    "SELECT part.owner, coalesce(served, 0) AS turn FROM part LEFT JOIN turn USING (owner, priority)"
                    " WHERE state = 'waiting' AND part.priority = ? AND not_before <= ? GROUP BY part.owner"
                    " ORDER BY turn, min(part.rowid) LIMIT 1",
                    (priority, now),
                ).fetchone()
                if row:
                    return self._lease(row[0], priority, now)
        return None

    def _lease(self, tenant: str, priority: Priority, now: float) -> Claim:
        job_id, number, requests, payload, attempts, deadline = self._db.fetch(
            "SELECT job, number, requests, payload, attempts, deadline FROM part JOIN job ON job.id = part.job WHERE"
            " part.state = 'waiting' AND part.priority = ? AND part.owner = ? AND not_before <= ?"
            " ORDER BY part.rowid LIMIT 1",
            (priority, tenant, now),
        )
        token = secrets.token_hex(8)
        self._db.execute(
            "UPDATE part SET state = 'leased', token = ?, lease = ?, attempts = attempts + 1"
            " WHERE job = ? AND number = ?",
            (token, now + self._options.lease_seconds, job_id, number),
        )
        self._db.execute(
            "INSERT INTO turn VALUES (?, ?, (SELECT coalesce(max(served), 0) + 1 FROM turn))"
            " ON CONFLICT DO UPDATE SET served = excluded.served",
            (tenant, priority),
        )
        self._db.execute(
            "UPDATE job SET state = 'running', started = ? WHERE id = ? AND state = 'queued'", (now, job_id)
        )
        return Claim(
            job=job_id,
            part=number,
            token=token,
            payload=payload,
            attempt=attempts + 1,
            requests=requests,
            tenant=tenant,
            priority=priority,
            deadline=deadline,
        )

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Renew leases."""
        expires = self._clock() + self._options.lease_seconds
        with self._db.transaction():
            return [self._update_leased(claim, "lease = ?", (expires,)) for claim in claims]

    def _update_leased(self, claim: Claim, assignments: str, values: Sequence[Any]) -> bool:
        """Update a part if the claim still holds its lease.

        The token fences off a worker that was silent for too long: its part may have been leased to another since.
        """
        cursor = self._db.execute(
            f"UPDATE part SET {assignments} WHERE job = ? AND number = ? AND token = ? AND state = 'leased'",  # noqa: S608
            (*values, claim.job, claim.part, claim.token),
        )
        return cursor.rowcount > 0

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
        """Store the result of a part."""
        with self._db.transaction():
            assignments = "state = 'done', token = NULL, result = ?, done = ?, failed = ?"
            assignments += "" if failed else ", payload = NULL"  # a retry needs the payload of a part that failed
            if not self._update_leased(claim, assignments, (result, done, failed)):
                return None
            if error:
                self._table.dead_letter(claim.job, error)
            elif reason:
                self._table.note_reason(claim.job, reason)
            return self._table.count(claim.job, done, failed, computed)

    def requeue(self, claim: Claim, delay: float, *, count_attempt: bool) -> bool:
        """Release a part."""
        with self._db.transaction():
            assignments = "state = 'waiting', token = NULL, not_before = ?, attempts = attempts - ?"
            return self._update_leased(claim, assignments, (self._clock() + delay, 0 if count_attempt else 1))

    def cancel(self, job_id: str) -> Job | None:
        """Cancel a job."""
        return self._end_if_open(job_id, "cancelled", CANCELLED_ERROR)

    def expire(self, job_id: str) -> Job | None:
        """Expire a job."""
        return self._end_if_open(job_id, "expired", EXPIRED_ERROR)

    def _end_if_open(self, job_id: str, state: State, error: str) -> Job | None:
        with self._db.transaction():
            job = self._table.get(job_id)
            if job is None or job.final:
                return job
            self._table.end(job_id, state, error)
            return self._table.one(job_id)

    def retry(self, job_id: str) -> Job | None:
        """Queue the failed parts of a job again."""
        with self._db.transaction():
            job = self._table.get(job_id)
            if job is None or not job.final:
                return job
            self._table.queue_again(job_id)
            return self._table.one(job_id)

    def interrupted_requests(self, job_id: str) -> int:
        """Return the requests of parts that were begun and have no result."""
        with self._db.reading():
            return self._table.interrupted_requests(job_id)

    def delete(self, job_id: str) -> bool:
        """Delete a job that has ended."""
        with self._db.transaction():
            job = self._table.get(job_id)
            if job is None or not job.final:
                return False
            return self._db.execute("DELETE FROM job WHERE id = ?", (job_id,)).rowcount > 0

    def dead_letters(self, limit: int = 100) -> list[Job]:
        """Return the jobs with a part in the dead-letter queue."""
        return self._table.select("dead > 0 ORDER BY dead DESC LIMIT ?", (limit,))

    def reap_expired_leases(self) -> int:
        """Take parts back from silent workers, expire late jobs, and delete jobs past their retention."""
        now = self._clock()
        with self._db.transaction():
            expired = self._db.execute(
                "SELECT job, number, losses + 1 FROM part WHERE state = 'leased' AND lease < ?", (now,)
            ).fetchall()
            for job_id, number, losses in expired:
                self._table.take_back(job_id, number, is_dead_letter=losses >= self._options.max_lost_leases)
            self._table.expire_late(now)
            self._db.execute(
                f"DELETE FROM job WHERE state IN ({', '.join('?' * len(FINAL))}) AND finished < ?",  # noqa: S608
                (*FINAL, now - self._options.retention_seconds),
            )
            return len(expired)

    def totals(self) -> dict[str, int]:
        """Return the counts since the store was made."""
        with self._db.reading():
            return dict(self._db.execute("SELECT name, value FROM total").fetchall())

    def queue_depth(self) -> QueueDepth:
        """Return the number of parts that can be claimed now."""
        with self._db.reading():
            depth = dict(
                self._db.execute(
                    "SELECT priority, count(*) FROM part WHERE state = 'waiting' AND not_before <= ? GROUP BY priority",
                    (self._clock(),),
                ).fetchall()
            )
        return QueueDepth(depth.get("interactive", 0), depth.get("bulk", 0))

    def due_deliveries(self, limit: int = 10) -> list[WebhookDelivery]:
        """Return webhooks to deliver now."""
        now = self._clock()
        with self._db.transaction():
            due = self._db.execute(
                "SELECT id, hook_attempts FROM job WHERE hook_at <= ? ORDER BY hook_at LIMIT ?", (now, limit)
            ).fetchall()
            self._db.execute_many(
                "UPDATE job SET hook_at = ?, hook_attempts = hook_attempts + 1 WHERE id = ?",
                [(now + DELIVERY_LEASE_SECONDS, job_id) for job_id, _ in due],
            )
            return [WebhookDelivery(self._table.one(job_id), attempts) for job_id, attempts in due]

    def record_delivery(self, job_id: str, *, delivered: bool, retry_after: float | None, error: str = "") -> None:
        """Record the outcome of a delivery."""
        state = "delivered" if delivered else "failed" if retry_after is None else "pending"
        due = None if delivered or retry_after is None else self._clock() + retry_after
        with self._db.transaction():
            self._table.add_total(delivery_outcome(delivered=delivered, retry_after=retry_after))
            self._db.execute(  # a job that was retried meanwhile will end again, with a delivery of its own
                f"UPDATE job SET webhook_state = ?, webhook_error = ?, hook_at = ? WHERE id = ? AND NOT {OPEN}",  # noqa: S608
                (state, error, due, job_id),
            )

    def subscribe(self, on_end: Callable[[str], None]) -> Callable[[], None]:
        """Call `on_end` with every job that ends in this process; other processes notice when they renew."""
        return self._db.subscribe(on_end)

    def close(self) -> None:
        """Close the file."""
        self._db.close()
