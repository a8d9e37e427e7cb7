"""`rerankd jobs` on a file of jobs, as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rerankd.jobs.job import Job, NewJob, Part, new_id
from rerankd.jobs.sqlite_store import SqliteStore
from rerankd.jobs.work import encode_work
from tests.program import rerankd
from tests.unit.jobs.scripted_worker import scoring


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite"


def kept(file: Path, state: str) -> Job:
    """Return a job in a state."""
    store = SqliteStore(file)
    job, _ = store.create(NewJob(new_id(), [Part(encode_work([scoring("a")]), 1)], tenant="team"))
    if state == "cancelled":
        store.cancel(job.id)
    elif state != "queued":
        claim = store.claim()
        assert claim
        if state == "succeeded":
            store.finish(claim, b'[{"scores": [[1.0]]}]', 1, 0)
        else:
            store.finish(claim, b'[{"error": {"code": "x", "message": "It broke."}}]', 0, 1, "It broke.")
    stored = store.get(job.id)
    store.close()
    assert stored
    return stored


def run(file: Path, *arguments: str, status: int = 0) -> tuple[str, str]:
    completed = rerankd("jobs", *arguments, "--jobs-path", str(file), folder=file.parent)
    assert completed.returncode == status, completed.stderr
    assert "Traceback" not in completed.stderr
    return completed.stdout, completed.stderr


def listed(file: Path, *arguments: str) -> list[str]:
    return [json.loads(line)["id"] for line in run(file, "list", *arguments)[0].splitlines()]


def test_looking_at_jobs(file: Path) -> None:
    first, second = kept(file, "succeeded"), kept(file, "failed")
    third = kept(file, "queued")
    assert listed(file) == [third.id, second.id, first.id]
    assert listed(file, "--state", "failed") == listed(file, "--state", "dead") == [second.id]
    assert "no state 'odd'" in run(file, "list", "--state", "odd", status=2)[1]
    shown = json.loads(run(file, "show", second.id)[0])
    assert (shown["state"], shown["errors"]) == ("failed", [{"index": 0, "error": "It broke."}])
    assert "rerankd jobs list" in run(file, "show", "none", status=2)[1]


def test_steering_jobs(file: Path) -> None:
    failed, completed, queued = kept(file, "failed"), kept(file, "succeeded"), kept(file, "queued")
    assert "queued again" in run(file, "retry", failed.id)[1]
    assert "cancelled" in run(file, "cancel", queued.id)[1]
    assert "nothing to retry" in run(file, "retry", completed.id, status=2)[1]
    assert "cannot be purged" in run(file, "purge", "--state", "queued", status=2)[1]
    assert "0 jobs" in run(file, "purge", "--yes", "--older", "1")[1]
    assert "1 job was deleted" in run(file, "purge", "--yes", "--state", "cancelled")[1]
    assert listed(file) == [completed.id, failed.id]


def test_a_queue_out_of_reach(file: Path) -> None:
    completed = rerankd("jobs", "list", "--queue-url", "redis://127.0.0.1:9/0", folder=file.parent)
    assert (completed.returncode, "cannot be reached" in completed.stderr) == (8, True)


def test_a_secret_signs(file: Path) -> None:
    from rerankd.jobs.webhook import sign

    secret = rerankd("jobs", "secret").stdout.strip()
    assert sign(secret, "job", 0, b"{}").startswith("v1,")


def test_a_worker_without_a_queue(file: Path) -> None:
    completed = rerankd("worker", folder=file.parent)
    assert (completed.returncode, "--queue-url" in completed.stderr) == (2, True)
