"""Jobs for the stores, and what a store has to return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rerankd.jobs.job import Claim, Job, NewJob, Part, Priority, new_id
from rerankd.jobs.store import JobStore

Open = Callable[..., JobStore]


def job(
    *parts: str, tenant: str = "", priority: Priority = "interactive", timeout: float | None = None, **more: Any
) -> NewJob:
    made = [Part(part.encode(), len(part)) for part in parts or ("a",)]
    return NewJob(new_id(), made, tenant, priority, timeout, **more)


def kept(store: JobStore, new: NewJob) -> Job:
    stored, is_new = store.create(new)
    assert is_new
    return stored


def contents(store: JobStore, job: str) -> list[bytes | None]:
    return [part.content for part in store.results(job)]


def claimed(store: JobStore, *, bulk: bool = True) -> Claim:
    claim = store.claim(bulk=bulk)
    assert claim
    return claim


def stands(store: JobStore, job: str) -> Job:
    stored = store.get(job)
    assert stored
    return stored
