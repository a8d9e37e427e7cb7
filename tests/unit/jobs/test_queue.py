from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rerankd.errors import ConflictError, InvalidRequestError, PayloadTooLargeError, UnavailableError
from rerankd.jobs.queue import JobQueue
from rerankd.jobs.sqlite_store import SqliteStore
from tests.unit.jobs.scripted_worker import ranking, scoring


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "deep" / "jobs.sqlite")
    yield made
    made.close()


def test_workers_are_notified_of_new_jobs_only(store: SqliteStore) -> None:
    notified: list[int] = []
    queue = JobQueue(store, notified.append)
    first, new = queue.submit([scoring(*"abc")] * 100, idempotency="k")
    assert new
    assert queue.submit([scoring(*"abc")] * 100, idempotency="k") == (first, False)
    assert notified == [2]
    with pytest.raises(ConflictError):
        queue.submit([scoring("other")], idempotency="k")


def test_a_job_is_stored_without_workers_notified(store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    def silent(_: int) -> None:
        raise UnavailableError("The job queue cannot be reached.")

    job, _ = JobQueue(store, silent).submit([ranking("a")])
    assert store.get(job.id)
    assert "could not be notified" in caplog.text


def test_what_is_refused_before_any_work(store: SqliteStore) -> None:
    queue = JobQueue(store, lambda _: None, max_bytes=100)
    with pytest.raises(InvalidRequestError, match="empty"):
        queue.submit([])
    with pytest.raises(InvalidRequestError, match="webhook_secret"):
        queue.submit([ranking("a")], webhook="https://example.com/")
    with pytest.raises(InvalidRequestError, match="not an http"):
        queue.submit([ranking("a")], webhook="mailto:x")
    for key in ("", "x" * 256, "a\nb"):
        with pytest.raises(InvalidRequestError, match="idempotency"):
            queue.submit([ranking("a")], idempotency=key)
    with pytest.raises(PayloadTooLargeError):
        queue.submit([ranking("a" * 200)])
    assert store.jobs() == []


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "jobs.sqlite"
    broken.write_bytes(b"no database" * 1000)
    with pytest.raises(InvalidRequestError, match="jobs_path"):
        SqliteStore(broken)
    assert broken.read_bytes().startswith(b"no database")


def test_options_are_checked_once_for_a_submission(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, checked = JobQueue(store, lambda _: None), list[str | None]()
    monkeypatch.setattr(queue, "check", lambda webhook, idempotency: checked.append(idempotency))
    queue.submit([ranking("a")], idempotency="first")
    queue.enqueue([ranking("a")], idempotency="second")  # for callers that called `check` themselves
    assert checked == ["first"]
