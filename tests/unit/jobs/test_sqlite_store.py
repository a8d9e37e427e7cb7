from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.errors import UnavailableError
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
