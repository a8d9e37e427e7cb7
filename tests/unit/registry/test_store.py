from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rerankd.errors import ModelNotFoundError, UnavailableError
from rerankd.registry.store import Store, _patience, redacted
from tests.registered import fresh_name


def test_addresses_are_shown_without_passwords() -> None:
    assert redacted("http://u:p@h:1/x") == "http://***@h:1/x"
    assert redacted("http://h:1/x") == "http://h:1/x"
    assert redacted("sqlite:////a/b") == "sqlite:////a/b"


def test_a_server_out_of_reach_is_one_sentence_without_its_password() -> None:
    store = Store("http://user:hunter2@127.0.0.1:9")
    with pytest.raises(UnavailableError, match=r"http://\*\*\*@127.0.0.1:9 cannot be reached") as caught:
        store.by_alias("med", "champion")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_what_is_not_there_is_said(store: Store) -> None:
    name = fresh_name()
    with pytest.raises(ModelNotFoundError, match=f"no model '{name}'"):
        store.aliases(name)
    with pytest.raises(ModelNotFoundError, match="no champion"):
        store.by_alias(name, "champion")
    with store.writing():
        store.create_model(name)
        store.create_model(name)
    with pytest.raises(ModelNotFoundError, match="no champion"):
        store.by_alias(name, "champion")
    with pytest.raises(ModelNotFoundError, match="no version 7"):
        store.version(name, 7)
    assert store.versions(name) == []
    assert name in store.names()


def test_reading_makes_no_store(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/none/mlflow.sqlite")
    with pytest.raises(UnavailableError, match="There is no registry"):
        store.names()
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_goes_away_and_comes_back(store: Store, tmp_path: Path) -> None:
    assert store.path
    copy = Store(f"sqlite:///{tmp_path}/mlflow.sqlite")
    assert copy.path
    shutil.copy(store.path, copy.path)
    names = copy.names()
    copy.path.rename(tmp_path / "away")
    with pytest.raises(UnavailableError, match="There is no registry"):
        copy.names()
    copy.path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(UnavailableError, match="cannot be reached"):
        copy.names()
    (tmp_path / "away").replace(copy.path)
    assert copy.names() == names


def test_a_server_gets_more_time_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    monkeypatch.setenv(name, "5")
    with _patience():
        assert os.environ[name] == "600"
    assert os.environ[name] == "5"
    monkeypatch.setenv(name, "77")
    with _patience():
        assert os.environ[name] == "77"
