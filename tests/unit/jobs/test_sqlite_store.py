from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from rerankd.errors import InvalidRequestError, UnavailableError
from rerankd.jobs import sqlite_file
from rerankd.jobs.job import NewJob, Part, new_id
from rerankd.jobs.sqlite_store import SqliteStore


def test_a_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.sqlite")
    store._db.execute("PRAGMA max_page_count = 40")
    with pytest.raises(UnavailableError, match="full"):
        store.create(NewJob(new_id(), [Part(bytes(1_000_000), 1)]))
    assert store.jobs() == []
    kept, _ = store.create(NewJob(new_id(), [Part(b"[]", 1)]))
    assert store.get(kept.id) == kept
    store.close()


def test_a_file_of_the_first_schema_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(sqlite_file._SCHEMA + "PRAGMA user_version = 1;")
        connection.execute(
            "INSERT INTO job (id, state, owner, priority, created, total, parts, bytes, fingerprint)"
            " VALUES ('job_1', 'queued', '', 'bulk', 1, 1, 1, 2, '')"
        )
        connection.execute(
            "INSERT INTO part (job, number, requests, payload, owner, priority)"
            " VALUES ('job_1', 0, 1, x'5b5d', '', 'bulk')"
        )
        connection.commit()
    for _ in range(2):  # the second time there is nothing to upgrade
        store = SqliteStore(path)
        (job,) = store.jobs()
        assert (job.id, job.charged, job.computed, job.webhook_error) == ("job_1", 0, 0, "")
        store.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(InvalidRequestError, match="later version"):
        SqliteStore(path)
