"""MLflow, as far as it is used: rows of versions, aliases, tags, and files of runs.

Does: an SQLite file and a folder, or a tracking server; each failure as one sentence, without the address's password.
Does not: flavours, pickles, environments, or anything that MLflow would run.
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

from rerankd._common.optional import require
from rerankd.errors import InvalidRequestError, ModelNotFoundError, RerankdError, UnavailableError

EXPERIMENT = "rerankd"
MODEL_FOLDER, EVIDENCE_FOLDER = "model", "evidence"
PAGE = 1000
_SQLITE = "sqlite:///"
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
# Read by MLflow. It asks home, draws bars and waits for minutes unless told otherwise; users' own values win.
_MANNERS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",  # a file that was moved or put back is opened anew
}
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
FILE_SECONDS = (
    "600"  # a server may fetch a large file whole before it gives the first byte, or store it before it thanks
)
T = TypeVar("T")


def redacted(uri: str) -> str:
    """An address without user and password.

    Example:
        >>> redacted("https://me:secret@mlflow.example:5000/x")
        'https://***@mlflow.example:5000/x'
    """
    parts = urlsplit(uri)
    user, at, _ = parts.netloc.rpartition("@")
    return uri.replace(f"{user}{at}", "***@", 1) if user else uri


class Store:
    """A client of MLflow; opened when first used, safe to use from several threads.

    Args:
        uri: `sqlite:///FILE`, or `http(s)://...` of a tracking server.

    Attributes:
        uri: the same, absolute; may hold a password.
        path: the file; None for a server.
        where: for people.
    """

    def __init__(self, uri: str) -> None:
        self.path = Path(uri.removeprefix(_SQLITE)).expanduser().absolute() if uri.startswith(_SQLITE) else None
        self.uri = f"{_SQLITE}{self.path}" if self.path else uri
        self.where = redacted(self.uri)
        self._client: Any = None
        self._opening = threading.Lock()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Make the store if it is a file that is not there, and keep others of this machine from writing to it."""
        if self.path is None:
            yield
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self.path.with_name(f"{self.path.name}.lock")):
                self._opened(make=True)
                yield
        except OSError as error:
            raise UnavailableError(
                f"{self.path} cannot be written ({error.strerror or error}).", hint="Check the folder."
            ) from error

    def version(self, name: str, number: int) -> Any:
        """A row.

        Raises:
            ModelNotFoundError: there is none.
            UnavailableError: MLflow cannot be reached.
        """
        missing = f"{name} has no version {number} in the registry {self.where}."
        return self._call(lambda client: client.get_model_version(name, str(number)), missing)

    def by_alias(self, name: str, alias: str) -> Any:
        """The row that an alias leads to; errors as `version`."""
        missing = f"{name} has no {alias} in the registry {self.where}."
        return self._call(lambda client: client.get_model_version_by_alias(name, alias), missing)

    def versions(self, name: str) -> list[Any]:
        """All rows of a model, newest first; none for an unknown name."""
        return self._paged(lambda client, page: client.search_model_versions(f"name='{name}'", PAGE, None, page))

    def names(self) -> list[str]:
        """Registered models."""
        found = self._paged(lambda client, page: client.search_registered_models(None, PAGE, None, page))
        return sorted(str(one.name) for one in found)

    def model_tags(self, name: str) -> Mapping[str, str]:
        """Of a registered model; errors as `version`."""
        found = self._model(name)
        return {str(key): str(value) for key, value in found.tags.items()}

    def aliases(self, name: str) -> Mapping[str, int]:
        """Version by alias; errors as `version`."""
        return {str(alias): int(number) for alias, number in self._model(name).aliases.items()}

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Point an alias; errors as `version`."""
        self._call(lambda client: client.set_registered_model_alias(name, alias, str(number)), f"There is no {name}.")

    def tag_model(self, name: str, key: str, value: str) -> None:
        """Write a tag of a registered model; errors as `version`."""
        self._call(lambda client: client.set_registered_model_tag(name, key, value), f"There is no {name}.")

    def tag_version(self, name: str, number: int, key: str, value: str) -> None:
        """Write a tag of a version; errors as `version`."""
        missing = f"There is no {name} {number}."
        self._call(lambda client: client.set_model_version_tag(name, str(number), key, value), missing)

    def create_model(self, name: str) -> None:
        """Make a registered model unless it is there."""
        with contextlib.suppress(ModelNotFoundError):
            self._model(name)
            return
        try:
            self._call(lambda client: client.create_registered_model(name), f"{name} cannot be made.")
        except RerankdError:
            self._model(name)  # another one may have been faster

    def create_run(self, name: str, params: Mapping[str, Any], metrics: Mapping[str, float]) -> str:
        """Make a run that people see in MLflow's own pages; its id."""

        def make(client: Any) -> str:
            found = client.get_experiment_by_name(EXPERIMENT)
            place = str(self.path.parent / "artifacts") if self.path else None
            experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT, place)
            run_id = str(client.create_run(experiment, run_name=name).info.run_id)
            entities = require("mlflow.entities", "registry", "The model registry")
            now = int(time.time() * 1000)
            client.log_batch(
                run_id,
                [entities.Metric(key, value, now, 0) for key, value in metrics.items()],
                [entities.Param(key, str(value)[:500]) for key, value in params.items()],
            )
            return run_id

        return self._call(make, "The run cannot be made.")

    def end_run(self, run_id: str, good: bool) -> None:
        """Close a run; a failed one is deleted as MLflow deletes."""

        def end(client: Any) -> None:
            client.set_terminated(run_id, "FINISHED" if good else "FAILED")
            if not good:
                client.delete_run(run_id)

        self._call(end, "There is no such run.")

    def put(self, run_id: str, path: Path, folder: str) -> None:
        """Hand in a file of a run."""
        with _patience():
            self._call(lambda client: client.log_artifact(run_id, str(path), folder), "There is no such run.")

    def sizes(self, run_id: str, folder: str) -> Mapping[str, int]:
        """Bytes of a run's files by their path."""
        found = self._call(lambda client: client.list_artifacts(run_id, folder), "There is no such run.")
        return {str(one.path): int(one.file_size or 0) for one in found if not one.is_dir}

    def get(self, run_id: str, path: str, target: Path) -> Path:
        """Fetch a file of a run into a folder; where it is now."""
        missing = f"The registry has no file {path.rpartition('/')[2]}."
        with _patience():
            return Path(self._call(lambda client: client.download_artifacts(run_id, path, str(target)), missing))

    def create_version(self, name: str, run_id: str, tags: Mapping[str, str]) -> Any:
        """Make a row for what a run holds."""

        def make(client: Any) -> Any:
            place = f"{client.get_run(run_id).info.artifact_uri}/{MODEL_FOLDER}"
            return client.create_model_version(name, place, run_id, dict(tags), await_creation_for=0)

        return self._call(make, f"There is no {name}.")

    def delete_version(self, name: str, number: int) -> None:
        """Take a row away; its files stay."""
        self._call(lambda client: client.delete_model_version(name, str(number)), f"There is no {name} {number}.")

    def _model(self, name: str) -> Any:
        missing = f"There is no model {name!r} in the registry {self.where}."
        return self._call(lambda client: client.get_registered_model(name), missing)

    def _paged(self, ask: Callable[[Any, str | None], Any]) -> list[Any]:
        rows: list[Any] = []
        page: str | None = None
        while True:
            found = self._call(partial(_asked, ask, page), "There is no such model.")
            rows += found
            page = found.token
            if not page:
                return rows

    def _call(self, ask: Callable[[Any], T], missing: str) -> T:
        client = self._opened()
        try:
            return ask(client)
        except Exception as error:  # a foreign library over a network or a database: anything may come out of it
            raise self._translated(error, missing) from None  # its text may hold the address's password

    def _opened(self, make: bool = False) -> Any:
        if self.path is not None and not make and not self.path.is_file():
            raise UnavailableError(f"There is no registry at {self.where}.", hint="Make one: rerankd models register")
        with self._opening:
            if self._client is None:
                self._client = self._open(make)
            return self._client

    def _open(self, make: bool) -> Any:
        for name, value in _MANNERS.items():
            os.environ.setdefault(name, value)
        tracking = require("mlflow.tracking", "registry", "The model registry")
        if self.path is not None:
            require("sqlalchemy", "registry", "The registry's SQLite store")
        try:
            # The first to open an SQLite store makes its tables; others wait for that.
            lock = self.path.with_name(f"{self.path.name}.lock") if self.path and not make else None
            with _locked(lock) if lock else contextlib.nullcontext():
                return tracking.MlflowClient(self.uri, self.uri)
        except Exception as error:  # as in _call
            raise self._translated(error, "There is no registry.") from None

    def _translated(self, error: Exception, missing: str) -> RerankdError:
        code = str(getattr(error, "error_code", ""))
        if isinstance(error, RerankdError):
            return error
        if code in _ABSENT or (code == "INVALID_PARAMETER_VALUE" and "not found" in str(error)):
            return ModelNotFoundError(missing, hint="See what there is: rerankd models history NAME")
        if "out-of-date database schema" in str(error):
            return InvalidRequestError(
                f"The registry {self.where} was made by another release of MLflow.", hint="Run: mlflow db upgrade URI"
            )
        said = code or type(error).__name__
        return UnavailableError(
            f"The registry {self.where} cannot be reached ({said}).",
            hint="Check that MLflow runs and the setting registry.",
        )


def _asked(ask: Callable[[Any, str | None], Any], page: str | None, client: Any) -> Any:
    return ask(client, page)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Longer waiting for files, unless the user said how long."""
    if os.environ.get(_TIMEOUT, _MANNERS[_TIMEOUT]) != _MANNERS[_TIMEOUT]:
        yield
        return
    os.environ[_TIMEOUT] = FILE_SECONDS
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = _MANNERS[_TIMEOUT]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until no other process of this machine holds a lock; nothing is waited for where that cannot be."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        file = path.open("a")
    except OSError:  # only to be read: nobody makes anything here
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
