"""SQLite file of a job store: schema, transactions, and the callbacks of jobs that end."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rerankd._common.paths import make_private
from rerankd.errors import InvalidRequestError, UnavailableError

SCHEMA_VERSION = 2
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


_UPGRADES = {
    1: (
        "ALTER TABLE job ADD COLUMN webhook_error TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE job ADD COLUMN charged INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE job ADD COLUMN computed INTEGER NOT NULL DEFAULT 0",
        "CREATE TABLE total (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    )
}


class SqliteFile:
    """Connection to the file, shared by all threads of the process.

    Args:
        path: path of the file; its folder is made.

    Raises:
        InvalidRequestError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._subscribers: list[Callable[[str], None]] = []
        self._ended: list[str] = []
        try:
            make_private(path)  # it holds texts of requests
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.executescript(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;"
            )
            self._create_schema()
        except (OSError, sqlite3.Error) as error:
            raise InvalidRequestError(
                f"Jobs cannot be stored in {path} ({error}).", hint="Name another file with jobs_path."
            ) from error

    def _create_schema(self) -> None:
        with self.transaction():
            (version,) = self.fetch("PRAGMA user_version")
            if version == SCHEMA_VERSION:
                return
            if version > SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"written by a later version of rerankd, schema {version}")
            for statement in () if version else _SCHEMA.split(";\n"):
                self.execute(statement)
            for earlier in range(version or 1, SCHEMA_VERSION):
                for statement in _UPGRADES[earlier]:
                    self.execute(statement)
            self.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run a statement inside `reading` or `transaction`."""
        return self._connection.execute(statement, values)

    def execute_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each row inside `transaction`."""
        self._connection.executemany(statement, rows)

    def fetch(self, statement: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
        """Return the one row of a query that always has one."""
        row: tuple[Any, ...] = self._connection.execute(statement, values).fetchone()
        return row

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the connection for queries."""
        with self._lock, _translated():
            yield

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the connection for a transaction; subscribers hear of jobs that ended once it is committed."""
        with self._lock, _translated():
            self._ended.clear()
            # A write lock from the start: two transactions that read first and write later would deadlock.
            self.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite rolls back by itself when the disk is full
                    self.execute("ROLLBACK")
                raise
            ended = list(self._ended)
        for job_id in ended:
            for on_end in list(self._subscribers):
                on_end(job_id)

    def note_end(self, job_id: str) -> None:
        """Remember that the current transaction ends a job."""
        self._ended.append(job_id)

    def subscribe(self, on_end: Callable[[str], None]) -> Callable[[], None]:
        """Call `on_end` with every job that ends in this process; return a function that stops it."""
        self._subscribers.append(on_end)
        return lambda: self._subscribers.remove(on_end)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OverflowError as error:
        raise InvalidRequestError("A number is too large for the file of jobs.", hint="Use a smaller one.") from error
    except sqlite3.OperationalError as error:
        raise UnavailableError(
            f"The file of jobs cannot be used ({error}).",
            hint="Free disk space, or end the program that locks it.",
            retry_after=5,
        ) from error
