"""A registry without MLflow: what `Store` calls of MLflow's client, in memory, with files in a folder.

`test_store.py` holds it to what MLflow does. MLflow takes 20 ms a call on SQLite.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rerankd.registry.store import Store


class MissingError(Exception):
    """Raised for what is not there, like MLflow's exception."""

    error_code = "RESOURCE_DOES_NOT_EXIST"


class PagedList(list[Any]):
    """A list of MLflow, on one page."""

    token = None


@dataclass
class Version:
    """A `ModelVersion` of MLflow."""

    name: str
    version: str
    source: str
    run_id: str
    tags: dict[str, str]
    aliases: list[str]
    creation_timestamp: int = field(default_factory=lambda: int(time.time() * 1000))


@dataclass
class Model:
    """A `RegisteredModel` of MLflow, with its versions."""

    name: str
    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    versions: dict[int, Version] = field(default_factory=dict)
    numbers: int = 0


class MemoryClient:
    """The methods of `mlflow.MlflowClient` that `Store` uses.

    Args:
        folder: folder for the files of runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._models: dict[str, Model] = {}
        self._runs = 0

    def create_registered_model(self, name: str) -> None:
        self._models[name] = Model(name)

    def get_registered_model(self, name: str) -> Model:
        if name not in self._models:
            raise MissingError(name)
        return self._models[name]

    def search_registered_models(self, _filter: None, _size: int, _order: None, _page: None) -> PagedList:
        return PagedList(self._models.values())

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        self.get_registered_model(name).tags[key] = value

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self.get_model_version(name, version)
        self._models[name].aliases[alias] = version

    def get_model_version(self, name: str, version: str) -> Version:
        model = self.get_registered_model(name)
        if int(version) not in model.versions:
            raise MissingError(f"{name} {version}")
        made = model.versions[int(version)]
        made.aliases = [alias for alias, number in model.aliases.items() if number == version]
        return made

    def get_model_version_by_alias(self, name: str, alias: str) -> Version:
        aliases = self.get_registered_model(name).aliases
        if alias not in aliases:
            raise MissingError(f"{name} {alias}")
        return self.get_model_version(name, aliases[alias])

    def search_model_versions(self, condition: str, _size: int, _order: None, _page: None) -> PagedList:
        model = self._models.get(condition.removeprefix("name='").removesuffix("'"))
        numbers = sorted(model.versions, reverse=True) if model else []
        return PagedList(self.get_model_version(model.name, str(number)) for number in numbers if model)

    def create_model_version(
        self, name: str, source: str, run_id: str, tags: Mapping[str, str], await_creation_for: int
    ) -> Version:
        model = self.get_registered_model(name)
        model.numbers += 1
        model.versions[model.numbers] = Version(name, str(model.numbers), source, run_id, dict(tags), [])
        return model.versions[model.numbers]

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self.get_model_version(name, version).tags[key] = value

    def delete_model_version(self, name: str, version: str) -> None:
        self.get_model_version(name, version)
        del self._models[name].versions[int(version)]

    def get_experiment_by_name(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(experiment_id=name)

    def create_run(self, experiment_id: str, run_name: str) -> SimpleNamespace:
        self._runs += 1
        (self._folder / str(self._runs)).mkdir(parents=True)
        return self.get_run(str(self._runs))

    def get_run(self, run_id: str) -> SimpleNamespace:
        folder = self._folder / run_id
        if not folder.is_dir():
            raise MissingError(run_id)
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id, artifact_uri=str(folder)))

    def log_batch(self, run_id: str, metrics: Sequence[Any], params: Sequence[Any]) -> None:
        self.get_run(run_id)

    def set_terminated(self, run_id: str, status: str) -> None:
        self.get_run(run_id)

    def delete_run(self, run_id: str) -> None:
        self.get_run(run_id)

    def log_artifact(self, run_id: str, path: str, folder: str) -> None:
        target = self._folder / run_id / folder
        target.mkdir(exist_ok=True)
        shutil.copy(path, target)

    def list_artifacts(self, run_id: str, folder: str) -> list[SimpleNamespace]:
        paths = sorted((self._folder / run_id / folder).glob("*"))
        return [
            SimpleNamespace(path=f"{folder}/{path.name}", file_size=path.stat().st_size, is_dir=path.is_dir())
            for path in paths
        ]

    def download_artifacts(self, run_id: str, path: str, target: str) -> str:
        source = self._folder / run_id / path
        if not source.is_file():
            raise MissingError(path)
        Path(target).mkdir(parents=True, exist_ok=True)
        return str(shutil.copy(source, target))


class MemoryStore(Store):
    """A store over `MemoryClient`.

    Args:
        folder: folder for the files of runs.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("http://memory")
        self._client = MemoryClient(folder)
