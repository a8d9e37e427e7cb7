from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.settings import load_settings
from rerankd.wiring.jobs import jobs_file, open_job_store


def test_where_jobs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RERANKD_JOBS_PATH", raising=False)
    assert jobs_file(load_settings()) == tmp_path / "rerankd" / "jobs.sqlite"
    store = open_job_store(load_settings(jobs_path="own/jobs.sqlite"))
    store.close()
    assert (tmp_path / "own" / "jobs.sqlite").stat().st_mode & 0o077 == 0


def test_an_account_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", no_home)
    with pytest.raises(InvalidRequestError, match="jobs_path"):
        jobs_file(load_settings())


@pytest.mark.parametrize("url", ["redis://:hidden@host:port/0", "redis://host:99999999/0", "redis://host?db=x"])
def test_an_address_that_is_none_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="queue_url") as error:
        open_job_store(load_settings(queue_url=url))
    assert "hidden" not in str(error.value)
