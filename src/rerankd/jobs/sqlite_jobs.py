"""The `job` table of a SQLite job store. Methods run inside a transaction or a read of the caller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rerankd.jobs.job import Job, NewJob, State
from rerankd.jobs.options import StoreOptions
from rerankd.jobs.sqlite_file import SqliteFile
from rerankd.jobs.store import EXPIRED_ERROR, WORKER_LOST, WORKER_LOST_ERROR, idempotency_conflict, overloaded

OPEN = "state IN ('queued', 'running')"
_COLUMNS = (
    "id, state, owner, priority, created, total, done, failed, parts, started, finished, deadline, error, webhook, "
    "webhook_state, webhook_error, charged, computed"
)


class JobTable:
    """Queries and updates of the `job` table.

    Args:
        db: open SQLite file.
        clock: source of Unix timestamps.
    """

    def __init__(self, db: SqliteFile, clock: Callable[[], float]) -> None:
        self._db, self._clock = db, clock

    def insert(self, job: NewJob, now: float) -> None:
        """Insert a queued job."""
        columns = {
            "id": job.id,
            "state": "queued",
            "owner": job.tenant,
            "priority": job.priority,
            "created": now,
            "total": job.requests,
            "parts": len(job.parts),
            "deadline": now + job.timeout if job.timeout else 0.0,
            "webhook": job.webhook or "",
            "webhook_state": "pending" if job.webhook else "",
            "bytes": job.size,
            "idempotency": job.idempotency,
            "fingerprint": job.fingerprint,
            "charged": job.charged,
        }
        self._db.execute(
            f"INSERT INTO job ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",  # noqa: S608
            tuple(columns.values()),
        )

    def earlier(self, job: NewJob) -> Job | None:
        """Return the job that was submitted with the same idempotency key."""
        row = self._db.execute(
            "SELECT id, fingerprint FROM job WHERE owner = ? AND idempotency = ?", (job.tenant, job.idempotency)
        ).fetchone()
        if row and row[1] != job.fingerprint:
            raise idempotency_conflict()
        return self.one(row[0]) if row else None

    def check_room(self, job: NewJob, options: StoreOptions) -> None:
        """Check that a job fits beside the unfinished ones of all tenants, and of its own.

        Raises:
            OverloadedError: it does not.
        """
        limits = ((None, (options.max_jobs, options.max_bytes)), (job.tenant, options.tenant_limits(job.tenant)))
        for tenant, (max_jobs, max_bytes) in limits:
            jobs, size = self._count_open(tenant)
            if jobs >= max_jobs or (jobs and size + job.size > max_bytes):
                raise overloaded(by_tenant=tenant is not None)

    def _count_open(self, tenant: str | None) -> tuple[int, int]:
        """Return the number of unfinished jobs and the bytes of their payloads, of one tenant or of all."""
        where, values = (f"{OPEN} AND owner = ?", (tenant,)) if tenant is not None else (OPEN, ())
        jobs, size = self._db.fetch(f"SELECT count(*), coalesce(sum(bytes), 0) FROM job WHERE {where}", values)  # noqa: S608
        return jobs, size

    def select(self, where: str, values: Sequence[Any]) -> list[Job]:
        """Return the jobs that a condition selects."""
        with self._db.reading():
            return [Job(*row) for row in self._db.execute(f"SELECT {_COLUMNS} FROM job WHERE {where}", values)]  # noqa: S608

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None."""
        row = self._db.execute(f"SELECT {_COLUMNS} FROM job WHERE id = ?", (job_id,)).fetchone()  # noqa: S608
        return Job(*row) if row else None

    def one(self, job_id: str) -> Job:
        """Return an existing job."""
        return Job(*self._db.fetch(f"SELECT {_COLUMNS} FROM job WHERE id = ?", (job_id,)))  # noqa: S608

    def dead_letter(self, job_id: str, error: str) -> None:
        """Put a job in the dead-letter queue."""
        self.add_total("dead")
        self._db.execute("UPDATE job SET error = ?, dead = ? WHERE id = ?", (error, self._clock(), job_id))

    def note_reason(self, job_id: str, reason: str) -> None:
        """Note why a request of a job failed; the first reason stays."""
        self._db.execute("UPDATE job SET error = ? WHERE id = ? AND error = ''", (reason, job_id))

    def add_total(self, name: str) -> None:
        """Add 1 to a count of the store."""
        self._db.execute("INSERT INTO total VALUES (?, 1) ON CONFLICT DO UPDATE SET value = value + 1", (name,))

    def count(self, job_id: str, done: int, failed: int, computed: int = 0) -> Job:
        """Add to a job's counts of requests and tokens; finish the job when all requests are counted."""
        self._db.execute(
            "UPDATE job SET done = done + ?, failed = failed + ?, computed = computed + ? WHERE id = ?",
            (done, failed, computed, job_id),
        )
        job = self.one(job_id)
        if not job.final and job.done + job.failed >= job.total:
            self.end(job_id, "failed" if job.failed else "succeeded", job.error)
        return self.one(job_id)

    def end(self, job_id: str, state: State, error: str) -> None:
        """Finish a job and its open parts, and invalidate the leases of these parts."""
        now = self._clock()
        self.add_total(state)
        self._db.execute(
            "UPDATE job SET state = ?, finished = ?, error = ?, hook_at = CASE webhook WHEN '' THEN NULL ELSE ? END"
            " WHERE id = ?",
            (state, now, error, now, job_id),
        )
        self._db.execute("UPDATE part SET state = 'done', token = NULL WHERE job = ? AND state != 'done'", (job_id,))
        self._db.note_end(job_id)

    def queue_again(self, job_id: str) -> None:
        """Queue the parts of a job that have failed or have no result; nothing changes if there is none."""
        self._db.execute(
            "UPDATE part SET state = 'waiting', result = NULL, done = 0, failed = 0, attempts = 0, losses = 0,"
            " not_before = 0 WHERE job = ? AND payload IS NOT NULL AND (failed > 0 OR result IS NULL)",
            (job_id,),
        )
        done, failed, waiting = self._db.fetch(
            "SELECT sum(done), sum(failed), sum(state = 'waiting') FROM part WHERE job = ?", (job_id,)
        )
        if waiting:
            self._db.execute(
                "UPDATE job SET state = 'queued', done = ?, failed = ?, error = '', dead = 0, deadline = 0,"
                " finished = 0, hook_at = NULL, hook_attempts = 0, webhook_error = '',"
                " webhook_state = CASE webhook WHEN '' THEN '' ELSE 'pending' END WHERE id = ?",
                (done, failed, job_id),
            )

    def interrupted_requests(self, job_id: str) -> int:
        """Return the requests of parts that were begun and have no result."""
        (requests,) = self._db.fetch(
            "SELECT coalesce(sum(requests), 0) FROM part WHERE job = ? AND result IS NULL AND attempts + losses > 0",
            (job_id,),
        )
        return int(requests)

    def take_back(self, job_id: str, number: int, *, is_dead_letter: bool) -> None:
        """Make a part claimable again, or a dead letter; losing a worker does not count as an attempt."""
        self._db.execute(
            "UPDATE part SET state = ?, token = NULL, result = ?, attempts = attempts - 1, losses = losses + 1,"
            " failed = CASE ? WHEN 1 THEN requests ELSE 0 END WHERE job = ? AND number = ?",
            (
                "done" if is_dead_letter else "waiting",
                WORKER_LOST if is_dead_letter else None,
                is_dead_letter,
                job_id,
                number,
            ),
        )
        if is_dead_letter:
            (requests,) = self._db.fetch("SELECT requests FROM part WHERE job = ? AND number = ?", (job_id, number))
            self.dead_letter(job_id, WORKER_LOST_ERROR)
            self.count(job_id, 0, requests)

    def expire_late(self, now: float) -> None:
        """Expire the jobs whose deadline has passed."""
        late = self._db.execute(f"SELECT id FROM job WHERE {OPEN} AND deadline > 0 AND deadline < ?", (now,))  # noqa: S608
        for (job_id,) in late.fetchall():
            self.end(job_id, "expired", EXPIRED_ERROR)
