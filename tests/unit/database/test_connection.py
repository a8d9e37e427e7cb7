from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from rerankd.database.connection import Database, batched
from rerankd.database.tables import store
from rerankd.errors import InvalidRequestError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "traces.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{path}")
    yield opened
    opened.close()


def test_invalid_urls(tmp_path: Path) -> None:
    for wrong in ("nothing", "mysql://host/db", "sqlite://"):
        with pytest.raises(InvalidRequestError):
            Database(wrong)
    (tmp_path / "text").write_text("not a database, only text, " * 100)
    with pytest.raises(InvalidRequestError, match="not a database"):
        Database(f"sqlite:///{tmp_path}/text")
    with pytest.raises(InvalidRequestError, match="Set traces_url to another location"):
        Database(f"sqlite:///{tmp_path}/text/traces.sqlite")


def test_the_file_is_private(database: Database, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_batches() -> None:
    assert [list(batch) for batch in batched(range(5), 2)] == [[0, 1], [2, 3], [4]]
    assert list(batched([])) == []


def test_a_block_that_raises_writes_nothing(database: Database) -> None:
    def fail() -> None:
        with database.begin() as connection:
            connection.execute(update(store).values(erased=7))
            raise ValueError("rolled back")

    with pytest.raises(ValueError, match="rolled back"):
        fail()
    with database.connect() as connection:
        assert connection.execute(select(store.c.erased)).scalar_one() == 0
