"""Jobs in one SQLite file: nothing to install, survives any end of the process; for the processes of one machine."""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rerankd._common.paths import make_private
from rerankd.errors import InvalidRequestError, UnavailableError
from rerankd.jobs.job import FINAL, Claim, Job, NewJob, Priority, State, WebhookDelivery
from rerankd.jobs.options import StoreOptions
from rerankd.jobs.store import (
    DELIVERY_LEASE_SECONDS,
    LOST,
    JobStore,
    PartResult,
    QueueDepth,
    conflict,
    full,
)

SCHEMA_VERSION = 1
BUSY_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE job (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, owner TEXT NOT NULL, priority TEXT NOT NULL, created REAL NOT NULL,
    total INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
    parts INTEGER NOT NULL, started REAL NOT NULL DEFAULT 0, finished REAL NOT NULL DEFAULT 0,
    deadline REAL NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '', webhook TEXT NOT NULL DEFAULT '',
    webhook_state TEXT NOT NULL DEFAULT '', bytes INTEGER NOT NULL, idempotency TEXT, fingerprint TEXT NOT NULL,
    hook_at REAL, hook_attempts INTEGER NOT NULL DEFAULT 0, dead REAL NOT NULL DEFAULT 0,
    UNIQUE (owner, idempotency)
);
CREATE TABLE part (
    job TEXT NOT NULL REFERENCES job ON DELETE CASCADE, number INTEGER NOT NULL, requests INTEGER NOT NULL,
    payload BLOB, result BLOB, done INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, losses INTEGER NOT NULL DEFAULT 0, token TEXT, lease REAL,
    not_before REAL NOT NULL DEFAULT 0, owner TEXT NOT NULL, priority TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    PRIMARY KEY (job, number)
);
CREATE TABLE turn (owner TEXT NOT NULL, priority TEXT NOT NULL, served INTEGER NOT NULL, PRIMARY KEY (owner, priority));
CREATE INDEX part_waiting ON part (priority, owner, not_before) WHERE state = 'waiting';
CREATE INDEX part_leased ON part (lease) WHERE state = 'leased';
CREATE INDEX job_created ON job (created);
CREATE INDEX job_open ON job (state, deadline);
CREATE INDEX job_hook ON job (hook_at) WHERE hook_at IS NOT NULL;
"""
_COLUMNS = (
    "id, state, owner, priority, created, total, done, failed, parts, started, finished, deadline, error, webhook, "
    "webhook_state"
)
_OPEN = "state IN ('queued', 'running')"


class SqliteStore(JobStore):
    """Jobs in a file.

    Args:
        path: the file; its folder is made.
        options: limits.
        clock: seconds since 1970.

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
        self._lock = threading.RLock()
        self._watchers: list[Callable[[str], None]] = []
        self._ended: list[str] = []
        try:
            make_private(path)  # texts of others
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise InvalidRequestError(
                f"Jobs cannot be kept in {path} ({error}).", hint="Name another file with jobs_path."
            ) from error

    def _prepare(self) -> None:
        with self._change():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"written by another version of rerankd, schema {version}")

    def create(self, job: NewJob) -> tuple[Job, bool]:
        """Keep a job."""
        now = self._clock()
        with self._change():
            if job.idempotency is not None and (known := self._known(job)):
                return known, False
            held, size = self._row(f"SELECT count(*), coalesce(sum(bytes), 0) FROM job WHERE {_OPEN}")  # noqa: S608
            if held >= self._options.max_jobs or (held and size + job.size > self._options.max_bytes):
                raise full()
            self._db.execute(
                "INSERT INTO job (id, state, owner, priority, created, total, parts, deadline, webhook, webhook_state,"
                " bytes, idempotency, fingerprint) VALUES (?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(job.id, job.owner, job.priority, now, job.requests, len(job.parts)),
                    now + job.timeout if job.timeout else 0.0,
                    *(job.webhook or "", "pending" if job.webhook else "", job.size, job.idempotency, job.fingerprint),
                ),
            )
            self._db.executemany(
                "INSERT INTO part (job, number, requests, payload, owner, priority) VALUES (?, ?, ?, ?, ?, ?)",
                [(job.id, n, part.requests, part.payload, job.owner, job.priority) for n, part in enumerate(job.parts)],
            )
            return self._job(job.id), True

    def _known(self, job: NewJob) -> Job | None:
        found = self._db.execute(
            "SELECT id, fingerprint FROM job WHERE owner = ? AND idempotency = ?", (job.owner, job.idempotency)
        ).fetchone()
        if found and found[1] != job.fingerprint:
            raise conflict()
        return self._job(found[0]) if found else None

    def get(self, job: str) -> Job | None:
        """A job as it stands."""
        with self._read():
            return self._found(job)

    def jobs(self, *, owner: str | None = None, states: Collection[State] = (), limit: int = 100) -> list[Job]:
        """Jobs, the newest first."""
        where, values = ["1"], list[Any]()
        if owner is not None:
            where, values = [*where, "owner = ?"], [*values, owner]
        if states:
            where, values = [*where, f"state IN ({', '.join('?' * len(states))})"], [*values, *states]
        return self._jobs(f"{' AND '.join(where)} ORDER BY created DESC, rowid DESC LIMIT ?", (*values, limit))

    def results(self, job: str) -> list[PartResult]:
        """What came of each part."""
        with self._read():
            rows = self._db.execute("SELECT requests, result FROM part WHERE job = ? ORDER BY number", (job,))
            return [PartResult(*row) for row in rows]

    def claim(self, *, bulk: bool = True) -> Claim | None:
        """Take the part whose turn it is."""
        now = self._clock()
        with self._change():
            self._end_late(now)
            for priority in ("interactive", "bulk") if bulk else ("interactive",):
                found = self._db.execute(
                    "SELECT part.owner, coalesce(served, 0) AS turn FROM part LEFT JOIN turn USING (owner, priority)"
                    " WHERE state = 'waiting' AND part.priority = ? AND not_before <= ? GROUP BY part.owner"
                    " ORDER BY turn, min(part.rowid) LIMIT 1",
                    (priority, now),
                ).fetchone()
                if found:
                    return self._take(found[0], priority, now)
        return None

    def _take(self, owner: str, priority: str, now: float) -> Claim:
        job, number, requests, payload, attempts, deadline = self._row(
            "SELECT job, number, requests, payload, attempts, deadline FROM part JOIN job ON job.id = part.job WHERE"
            " part.state = 'waiting' AND part.priority = ? AND part.owner = ? AND not_before <= ?"
            " ORDER BY part.rowid LIMIT 1",
            (priority, owner, now),
        )
        token = secrets.token_hex(8)
        self._db.execute(
            "UPDATE part SET state = 'leased', token = ?, lease = ?, attempts = attempts + 1"
            " WHERE job = ? AND number = ?",
            (token, now + self._options.lease_seconds, job, number),
        )
        self._db.execute(
            "INSERT INTO turn VALUES (?, ?, (SELECT coalesce(max(served), 0) + 1 FROM turn))"
            " ON CONFLICT DO UPDATE SET served = excluded.served",
            (owner, priority),
        )
        self._db.execute("UPDATE job SET state = 'running', started = ? WHERE id = ? AND state = 'queued'", (now, job))
        turn: Priority = "bulk" if priority == "bulk" else "interactive"
        return Claim(job, number, token, payload, attempts + 1, requests, owner, turn, deadline)

    def renew(self, claims: Sequence[Claim]) -> list[bool]:
        """Say that parts are being worked on."""
        until = self._clock() + self._options.lease_seconds
        with self._change():
            return [self._changed("lease = ?", (until,), claim) for claim in claims]

    def _changed(self, what: str, values: Sequence[Any], claim: Claim) -> bool:
        """Change a part that is still in this worker's hands."""
        done = self._db.execute(
            f"UPDATE part SET {what} WHERE job = ? AND number = ? AND token = ? AND state = 'leased'",  # noqa: S608
            (*values, claim.job, claim.part, claim.token),
        )
        return done.rowcount > 0

    def finish(self, claim: Claim, result: bytes, done: int, failed: int, error: str = "") -> Job | None:
        """Hand a part's result in."""
        with self._change():
            what = "state = 'done', token = NULL, result = ?, done = ?, failed = ?"
            what += "" if failed else ", payload = NULL"  # what failed may be tried again
            if not self._changed(what, (result, done, failed), claim):
                return None
            if error:
                self._bury(claim.job, error)
            return self._counted(claim.job, done, failed)

    def _bury(self, job: str, error: str) -> None:
        self._db.execute("UPDATE job SET error = ?, dead = ? WHERE id = ?", (error, self._clock(), job))

    def _counted(self, job: str, done: int, failed: int) -> Job:
        self._db.execute("UPDATE job SET done = done + ?, failed = failed + ? WHERE id = ?", (done, failed, job))
        found = self._job(job)
        if not found.final and found.done + found.failed >= found.total:
            self._end(job, "failed" if found.failed else "succeeded", found.error)
        return self._job(job)

    def requeue(self, claim: Claim, seconds: float, *, count_attempt: bool) -> bool:
        """Let a part wait and be tried again."""
        with self._change():
            what = "state = 'waiting', token = NULL, not_before = ?, attempts = attempts - ?"
            return self._changed(what, (self._clock() + seconds, 0 if count_attempt else 1), claim)

    def cancel(self, job: str) -> Job | None:
        """End a job."""
        return self._ended_by(job, "cancelled", "It was cancelled.")

    def expire(self, job: str) -> Job | None:
        """End a job whose deadline has passed."""
        return self._ended_by(job, "expired", "Its time was up.")

    def _ended_by(self, job: str, state: State, error: str) -> Job | None:
        with self._change():
            found = self._found(job)
            if found is None or found.final:
                return found
            self._end(job, state, error)
            return self._job(job)

    def _end(self, job: str, state: State, error: str) -> None:
        now = self._clock()
        self._db.execute(
            "UPDATE job SET state = ?, finished = ?, error = ?, hook_at = CASE webhook WHEN '' THEN NULL ELSE ? END"
            " WHERE id = ?",
            (state, now, error, now, job),
        )
        self._db.execute("UPDATE part SET state = 'done', token = NULL WHERE job = ? AND state != 'done'", (job,))
        self._ended.append(job)

    def _end_late(self, now: float) -> None:
        late = self._db.execute(f"SELECT id FROM job WHERE {_OPEN} AND deadline > 0 AND deadline < ?", (now,))  # noqa: S608
        for (job,) in late.fetchall():
            self._end(job, "expired", "Its time was up.")

    def retry(self, job: str) -> Job | None:
        """Queue failed parts again."""
        with self._change():
            found = self._found(job)
            if found is None or not found.final:
                return found
            self._db.execute(
                "UPDATE part SET state = 'waiting', result = NULL, done = 0, failed = 0, attempts = 0, losses = 0,"
                " not_before = 0 WHERE job = ? AND payload IS NOT NULL AND (failed > 0 OR result IS NULL)",
                (job,),
            )
            done, failed, waiting = self._row(
                "SELECT sum(done), sum(failed), sum(state = 'waiting') FROM part WHERE job = ?", (job,)
            )
            if waiting:
                self._db.execute(
                    "UPDATE job SET state = 'queued', done = ?, failed = ?, error = '', dead = 0, deadline = 0,"
                    " finished = 0, hook_at = NULL, hook_attempts = 0,"
                    " webhook_state = CASE webhook WHEN '' THEN '' ELSE 'pending' END WHERE id = ?",
                    (done, failed, job),
                )
            return self._job(job)

    def delete(self, job: str) -> bool:
        """Forget a final job."""
        with self._change():
            found = self._found(job)
            if found is None or not found.final:
                return False
            return self._db.execute("DELETE FROM job WHERE id = ?", (job,)).rowcount > 0

    def dead_letters(self, limit: int = 100) -> list[Job]:
        """Jobs of which a part was set aside."""
        return self._jobs("dead > 0 ORDER BY dead DESC LIMIT ?", (limit,))

    def reap_expired_leases(self) -> int:
        """Take parts from silent workers, end what is too late, forget what has expired."""
        now = self._clock()
        with self._change():
            lost = self._db.execute(
                "SELECT job, number, losses + 1 FROM part WHERE state = 'leased' AND lease < ?", (now,)
            ).fetchall()
            for job, number, losses in lost:
                given_up = losses >= self._options.max_lost_leases
                self._db.execute(
                    "UPDATE part SET state = ?, token = NULL, result = ?, attempts = attempts - 1, losses = losses + 1,"
                    " failed = CASE ? WHEN 1 THEN requests ELSE 0 END WHERE job = ? AND number = ?",
                    ("done" if given_up else "waiting", LOST if given_up else None, given_up, job, number),
                )
                if given_up:
                    (requests,) = self._row("SELECT requests FROM part WHERE job = ? AND number = ?", (job, number))
                    self._bury(job, "A worker was lost with it again and again.")
                    self._counted(job, 0, requests)
            self._end_late(now)
            self._db.execute(
                f"DELETE FROM job WHERE state IN ({', '.join('?' * len(FINAL))}) AND finished < ?",  # noqa: S608
                (*FINAL, now - self._options.retention_seconds),
            )
            return len(lost)

    def queue_depth(self) -> QueueDepth:
        """Parts that could be claimed now."""
        with self._read():
            found = dict(
                self._db.execute(
                    "SELECT priority, count(*) FROM part WHERE state = 'waiting' AND not_before <= ? GROUP BY priority",
                    (self._clock(),),
                ).fetchall()
            )
        return QueueDepth(found.get("interactive", 0), found.get("bulk", 0))

    def due_deliveries(self, limit: int = 10) -> list[WebhookDelivery]:
        """Announcements to make now."""
        now = self._clock()
        with self._change():
            rows = self._db.execute(
                "SELECT id, hook_attempts FROM job WHERE hook_at <= ? ORDER BY hook_at LIMIT ?", (now, limit)
            ).fetchall()
            for job, _ in rows:
                self._db.execute(
                    "UPDATE job SET hook_at = ?, hook_attempts = hook_attempts + 1 WHERE id = ?",
                    (now + DELIVERY_LEASE_SECONDS, job),
                )
            return [WebhookDelivery(self._job(job), attempts) for job, attempts in rows]

    def record_delivery(self, job: str, *, delivered: bool, again: float | None) -> None:
        """Note how an announcement went."""
        state = "delivered" if delivered else "failed" if again is None else "pending"
        at = None if delivered or again is None else self._clock() + again
        with self._change():
            self._db.execute(  # of a job that was retried meanwhile, another end is announced
                f"UPDATE job SET webhook_state = ?, hook_at = ? WHERE id = ? AND NOT {_OPEN}",  # noqa: S608
                (state, at, job),
            )

    def subscribe(self, ended: Callable[[str], None]) -> Callable[[], None]:
        """Call `ended` with every job that ends in this process; other processes notice when they renew."""
        self._watchers.append(ended)
        return lambda: self._watchers.remove(ended)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _jobs(self, where: str, values: Sequence[Any]) -> list[Job]:
        with self._read():
            return [Job(*row) for row in self._db.execute(f"SELECT {_COLUMNS} FROM job WHERE {where}", values)]  # noqa: S608

    def _found(self, job: str) -> Job | None:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM job WHERE id = ?", (job,)).fetchone()  # noqa: S608
        return Job(*row) if row else None

    def _job(self, job: str) -> Job:
        return Job(*self._row(f"SELECT {_COLUMNS} FROM job WHERE id = ?", (job,)))  # noqa: S608

    def _row(self, statement: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self._db.execute(statement, values).fetchone()
        return found

    @contextmanager
    def _read(self) -> Iterator[None]:
        with self._lock, _translated():
            yield

    @contextmanager
    def _change(self) -> Iterator[None]:
        """A transaction: all of it or nothing; those who watch hear of it when it is kept."""
        with self._lock, _translated():
            self._ended.clear()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # what finds no room SQLite takes back itself
                    self._db.execute("ROLLBACK")
                raise
            ended = list(self._ended)
        for job in ended:
            for watcher in list(self._watchers):
                watcher(job)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise UnavailableError(
            f"The file of jobs cannot be used ({error}).", hint="Free the disk, or end what locks it.", retry_after=5
        ) from error
