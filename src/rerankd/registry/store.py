"""Client of MLflow: rows of versions, aliases, tags, and files of runs.

Does: an SQLite file and a folder, or a tracking server; errors as one sentence, without the password in the address.
Does not: flavours, pickles, environments, or anything that MLflow would execute.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from rerankd._common.files import lock_file, writable
from rerankd._common.optional import require
from rerankd.errors import InvalidRequestError, ModelNotFoundError, RerankdError, UnavailableError
from rerankd.registry.mlflow_client import open_client

EXPERIMENT = "rerankd"
MODEL_FOLDER, EVIDENCE_FOLDER = "model", "evidence"
PAGE = 1000
MAX_VERSION = 2**31 - 1
_SQLITE = "sqlite:///"
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
T = TypeVar("T")


def redacted(uri: str) -> str:
    """Return an address without user and password.

    Example:
        >>> redacted("https://me:secret@mlflow.example:5000/x")
        'https://***@mlflow.example:5000/x'
    """
    parts = urlsplit(uri)
    user, at, _ = parts.netloc.rpartition("@")
    return uri.replace(f"{user}{at}", "***@", 1) if user else uri


class Store:
    """A client of MLflow, opened at first use. Thread-safe.

    Args:
        uri: `sqlite:///FILE`, or `http(s)://...` of a tracking server.

    Attributes:
        uri: absolute address; may contain a password.
        path: database file; None for a server.
        where: address for messages, without a password.
    """

    def __init__(self, uri: str) -> None:
        self.path = Path(uri.removeprefix(_SQLITE)).expanduser().absolute() if uri.startswith(_SQLITE) else None
        self.uri = f"{_SQLITE}{self.path}" if self.path else uri
        self.where = redacted(self.uri)
        self._client: Any = None
        self._opening = threading.Lock()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Lock a store that is a file against other writers of this machine; the file is created if it is missing."""
        if self.path is None:
            yield
            return
        with writable(self.path, raises=UnavailableError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock():
                self._opened(make=True)
                yield

    def version(self, name: str, number: int) -> Any:
        """Return the row of a version.

        Raises:
            ModelNotFoundError: there is no such version.
            UnavailableError: MLflow cannot be reached.
        """
        missing = f"{name} has no version {number} in the registry {self.where}."
        if number > MAX_VERSION:  # a database takes it for an error of its own
            raise ModelNotFoundError(missing)
        return self._call(lambda client: client.get_model_version(name, str(number)), missing)

    def by_alias(self, name: str, alias: str) -> Any:
        """Return the row of the version that an alias points to; errors as `version`."""
        missing = f"{name} has no {alias} in the registry {self.where}."
        return self._call(lambda client: client.get_model_version_by_alias(name, alias), missing)

    def versions(self, name: str) -> list[Any]:
        """Return the rows of a model, newest first; none for an unknown name."""
        return self._paged(lambda client, page: client.search_model_versions(f"name='{name}'", PAGE, None, page))

    def models(self) -> Mapping[str, Mapping[str, int]]:
        """Return the names of registered models in order, each with the version number of its aliases."""
        return {str(model.name): _numbers(model.aliases) for model in self._models()}

    def tags_of_models(self) -> Mapping[str, Mapping[str, str]]:
        """Return the names of registered models in order, each with its tags."""
        return {str(model.name): _texts(model.tags) for model in self._models()}

    def _models(self) -> list[Any]:
        models = self._paged(lambda client, page: client.search_registered_models(None, PAGE, None, page))
        return sorted(models, key=lambda model: str(model.name))

    def model_tags(self, name: str) -> Mapping[str, str]:
        """Return the tags of a registered model; errors as `version`."""
        return _texts(self._model(name).tags)

    def aliases(self, name: str) -> Mapping[str, int]:
        """Return the version number of each alias; errors as `version`."""
        return _numbers(self._model(name).aliases)

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Point an alias at a version; errors as `version`."""
        self._call(lambda client: client.set_registered_model_alias(name, alias, str(number)), f"There is no {name}.")

    def tag_model(self, name: str, key: str, value: str) -> None:
        """Write a tag of a registered model; errors as `version`."""
        self._call(lambda client: client.set_registered_model_tag(name, key, value), f"There is no {name}.")

    def tag_version(self, name: str, number: int, key: str, value: str) -> None:
        """Write a tag of a version; errors as `version`."""
        missing = f"There is no {name} {number}."
        self._call(lambda client: client.set_model_version_tag(name, str(number), key, value), missing)

    def create_model(self, name: str) -> None:
        """Create a registered model if it does not exist."""
        with contextlib.suppress(ModelNotFoundError):
            self._model(name)
            return
        try:
            self._call(lambda client: client.create_registered_model(name), f"{name} cannot be created.")
        except RerankdError:
            self._model(name)  # somebody else may have created it at the same moment

    def create_run(self, name: str, params: Mapping[str, Any], metrics: Mapping[str, float]) -> str:
        """Create a run, which MLflow's own pages show, and return its id."""

        def make(client: Any) -> str:
            experiment = client.get_experiment_by_name(EXPERIMENT)
            folder = str(self.path.parent / "artifacts") if self.path else None
            experiment_id = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT, folder)
            run_id = str(client.create_run(experiment_id, run_name=name).info.run_id)
            entities = require("mlflow.entities", "registry", "The model registry")
            now = int(time.time() * 1000)
            client.log_batch(
                run_id,
                [entities.Metric(key, value, now, 0) for key, value in metrics.items()],
                [entities.Param(key, str(value)[:500]) for key, value in params.items()],
            )
            return run_id

        return self._call(make, "The run cannot be created.")

    def end_run(self, run_id: str, good: bool) -> None:
        """End a run; a failed one is marked as deleted."""

        def end(client: Any) -> None:
            client.set_terminated(run_id, "FINISHED" if good else "FAILED")
            if not good:
                client.delete_run(run_id)

        self._call(end, "There is no such run.")

    def put(self, run_id: str, path: Path, folder: str) -> None:
        """Upload a file to a run."""
        self._call(lambda client: client.log_artifact(run_id, str(path), folder), "There is no such run.")

    def sizes(self, run_id: str, folder: str) -> Mapping[str, int]:
        """Return the size in bytes of each file of a run, by path."""
        files = self._call(lambda client: client.list_artifacts(run_id, folder), "There is no such run.")
        return {str(file.path): int(file.file_size or 0) for file in files if not file.is_dir}

    def get(self, run_id: str, path: str, target: Path) -> Path:
        """Download a file of a run into a folder, and return its path."""
        missing = f"The registry has no file {path.rpartition('/')[2]}."
        return Path(self._call(lambda client: client.download_artifacts(run_id, path, str(target)), missing))

    def create_version(self, name: str, run_id: str, tags: Mapping[str, str]) -> Any:
        """Create a version from the files of a run."""

        def make(client: Any) -> Any:
            source = f"{client.get_run(run_id).info.artifact_uri}/{MODEL_FOLDER}"
            return client.create_model_version(name, source, run_id, dict(tags), await_creation_for=0)

        return self._call(make, f"There is no {name}.")

    def delete_version(self, name: str, number: int) -> None:
        """Delete a version; its files stay."""
        self._call(lambda client: client.delete_model_version(name, str(number)), f"There is no {name} {number}.")

    def _model(self, name: str) -> Any:
        missing = f"There is no model {name!r} in the registry {self.where}."
        return self._call(lambda client: client.get_registered_model(name), missing)

    def _paged(self, ask: Callable[[Any, str | None], Any]) -> list[Any]:
        rows: list[Any] = []
        page: str | None = None
        while True:
            batch = self._call(partial(_search, ask, page), "There is no such model.")
            rows += batch
            page = batch.token
            if not page:
                return rows

    def _call(self, ask: Callable[[Any], T], missing: str) -> T:
        client = self._opened()
        try:
            return ask(client)
        except Exception as error:  # MLflow, a network and a database may raise anything
            raise self._translated(error, missing) from None  # its text may contain the password

    def _opened(self, make: bool = False) -> Any:
        if self.path is not None and not make and not self.path.is_file():
            raise UnavailableError(f"There is no registry at {self.where}.", hint="Create one: rerankd models register")
        with self._opening:
            if self._client is None:
                self._client = self._open(make)
            return self._client

    def _open(self, make: bool) -> Any:
        if self.path is not None:
            require("sqlalchemy", "registry", "The registry's SQLite store")
        try:
            # The first process that opens an SQLite store creates its tables; others wait for that.
            with contextlib.nullcontext() if make else self._lock():
                return open_client(self.uri)
        except Exception as error:  # as in _call
            raise self._translated(error, "There is no registry.") from None

    def _lock(self) -> contextlib.AbstractContextManager[object]:
        """Return the lock between processes; none for a server, or for a file in a folder that is read only."""
        if self.path is None or not os.access(self.path.parent, os.W_OK):
            return contextlib.nullcontext()
        return lock_file(self.path.with_name(f"{self.path.name}.lock"))

    def _translated(self, error: Exception, missing: str) -> RerankdError:
        code = str(getattr(error, "error_code", ""))
        if isinstance(error, RerankdError):
            return error
        if code in _ABSENT or (code == "INVALID_PARAMETER_VALUE" and "not found" in str(error)):
            return ModelNotFoundError(missing, hint="List the versions: rerankd models history NAME")
        if "out-of-date database schema" in str(error):
            return InvalidRequestError(
                f"The registry {self.where} was created by another release of MLflow.",
                hint="Run: mlflow db upgrade URI",
            )
        reason = code or type(error).__name__
        return UnavailableError(
            f"The registry {self.where} cannot be reached ({reason}).",
            hint="Check that MLflow runs and the setting registry.",
        )


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in tags.items()}


def _numbers(aliases: Mapping[str, Any]) -> dict[str, int]:
    return {str(alias): int(number) for alias, number in aliases.items()}


def _search(ask: Callable[[Any, str | None], Any], page: str | None, client: Any) -> Any:
    return ask(client, page)
