from __future__ import annotations

import os
import shutil
import threading
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from rerankd.errors import ModelNotFoundError, UnavailableError
from rerankd.registry.mlflow_client import FILE_TIMEOUT_SECONDS, TIMEOUT, _extend_file_timeout, open_client
from rerankd.registry.store import Store, redacted
from tests.registered import fresh_name

pytestmark = pytest.mark.slow


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


@pytest.fixture(params=["store", "memory_store"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """MLflow's store, and the one in memory that other tests use."""
    made: Store = request.getfixturevalue(request.param)
    return made


@pytest.mark.slow
def test_what_is_not_there_is_said(any_store: Store) -> None:
    store = any_store
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
    assert name in store.models()


@pytest.mark.slow
def test_versions_files_tags_and_aliases(any_store: Store, tmp_path: Path) -> None:
    store, name = any_store, fresh_name()
    (tmp_path / "model.onnx").write_bytes(b"weights")
    with store.writing():
        store.create_model(name)
    runs = []
    for number in (1, 2, 3):
        runs.append(run := store.create_run(name, {"precision": "int8"}, {"ndcg": 0.5}))
        store.put(run, tmp_path / "model.onnx", "model")
        made = store.create_version(name, run, {"content": f"c{number}"})
        assert (made.name, int(made.version), made.run_id, made.tags) == (name, number, run, {"content": f"c{number}"})
        assert abs(made.creation_timestamp / 1000 - time.time()) < 60
        store.end_run(run, True)
    store.tag_version(name, 2, "content", "changed")
    store.delete_version(name, 3)
    assert [(int(row.version), row.tags["content"]) for row in store.versions(name)] == [(2, "changed"), (1, "c1")]
    with pytest.raises(ModelNotFoundError, match="no version 3"):
        store.version(name, 3)
    for number in (2, 1):
        store.set_alias(name, "champion", number)
    store.set_alias(name, "previous", 1)
    assert store.aliases(name) == {"champion": 1, "previous": 1}
    assert int(store.by_alias(name, "champion").version) == 1
    assert sorted(store.version(name, 1).aliases) == ["champion", "previous"]
    assert list(store.version(name, 2).aliases) == []
    with pytest.raises(ModelNotFoundError):
        store.set_alias(name, "champion", 3)
    store.tag_model(name, "move", "1")
    store.tag_model(name, "move", "2")
    assert store.model_tags(name) == {"move": "2"}
    assert store.sizes(runs[0], "model") == {"model/model.onnx": 7}
    assert store.sizes(runs[0], "evidence") == {}
    copy = store.get(runs[0], "model/model.onnx", tmp_path)
    assert (copy, copy.read_bytes()) == (tmp_path / "model.onnx", b"weights")
    with pytest.raises(ModelNotFoundError, match="no file"):
        store.get(runs[0], "model/other", tmp_path)
    source = Path(urlsplit(store.version(name, 1).source).path)
    assert (source / "model.onnx").read_bytes() == b"weights"
    failed = store.create_run(name, {}, {})
    store.end_run(failed, False)
    run = store.create_run(name, {}, {})
    assert int(store.create_version(name, run, {}).version) in (3, 4)


def test_reading_makes_no_store(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/none/mlflow.sqlite")
    with pytest.raises(UnavailableError, match="There is no registry"):
        store.models()
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_goes_away_and_comes_back(store: Store, tmp_path: Path) -> None:
    assert store.path
    copy = Store(f"sqlite:///{tmp_path}/mlflow.sqlite")
    assert copy.path
    shutil.copy(store.path, copy.path)
    names = copy.models()
    copy.path.rename(tmp_path / "away")
    with pytest.raises(UnavailableError, match="There is no registry"):
        copy.models()
    copy.path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(UnavailableError, match="cannot be reached"):
        copy.models()
    (tmp_path / "away").replace(copy.path)
    assert copy.models() == names


def test_files_get_a_longer_timeout_and_the_environment_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    artifacts: Any = import_module("mlflow.store.artifact.http_artifact_repo")

    timeouts: list[tuple[str, object]] = []
    started, finish = threading.Event(), threading.Event()

    def http_request(host_creds: object, endpoint: str, method: str, **options: object) -> SimpleNamespace:
        timeouts.append((method, options.get("timeout")))
        if method == "PUT":
            started.set()
            finish.wait(30)
        return SimpleNamespace(status_code=200, json=dict, raise_for_status=lambda: None, text="")

    monkeypatch.setattr(artifacts, "http_request", http_request)
    _extend_file_timeout(artifacts)
    _extend_file_timeout(artifacts)  # wraps once
    repository = artifacts.HttpArtifactRepository("http://h/api/2.0/mlflow-artifacts/artifacts")
    (tmp_path / "model.onnx").write_bytes(b"x")
    environment = dict(os.environ)
    upload = threading.Thread(target=repository.log_artifact, args=(str(tmp_path / "model.onnx"),))
    upload.start()
    assert started.wait(30)
    repository.list_artifacts()  # while a file is being uploaded in another thread
    assert dict(os.environ) == environment
    finish.set()
    upload.join()
    assert timeouts == [("PUT", FILE_TIMEOUT_SECONDS), ("GET", None)]


def test_a_timeout_that_the_user_set_holds_for_files_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts: Any = import_module("mlflow.store.artifact.http_artifact_repo")

    def http_request(*_: object, **__: object) -> None: ...

    monkeypatch.setattr(artifacts, "http_request", http_request)
    monkeypatch.setenv(TIMEOUT, "77")
    assert open_client(store.uri) is not None
    assert artifacts.http_request is http_request
