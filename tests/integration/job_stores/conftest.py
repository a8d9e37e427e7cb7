"""Both job stores: on a file, and on a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from rerankd.jobs.options import StoreOptions
from rerankd.jobs.redis_store import RedisStore
from rerankd.jobs.sqlite_store import SqliteStore
from rerankd.jobs.store import JobStore
from tests.integration.job_stores.jobs import Open


@pytest.fixture(params=["sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Open a store by options; called again, the same jobs with other options."""
    stores: list[JobStore] = []
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        with redis.Redis.from_url(url) as client:
            client.flushall()

    def open_it(**options: float) -> JobStore:
        given = StoreOptions(**options)  # type: ignore[arg-type]
        stores.append(RedisStore(url, given) if request.param == "redis" else SqliteStore(tmp_path / "jobs", given))
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()
