"""Where the registry and its copies are, and how a reference to it becomes a folder."""

from __future__ import annotations

import os
from pathlib import Path

from rerankd._common.logging import logger
from rerankd._common.paths import state_folder
from rerankd.errors import UnavailableError
from rerankd.models.reference import CHAMPION, ModelReference
from rerankd.registry.cache import Cache, LastKnown
from rerankd.registry.registry import Registry
from rerankd.registry.store import Store
from rerankd.registry.verification import check_trusted
from rerankd.registry.version import ModelVersion

_log = logger(__name__)


def registry_uri(setting: str | None) -> str:
    """Address of MLflow; the user's own store if none is set."""
    return setting or f"sqlite:///{state_folder() / 'registry' / 'mlflow.sqlite'}"


def cache_folder(cache_dir: str | None) -> Path:
    """Where copies of versions are kept."""
    return (Path(cache_dir).expanduser() if cache_dir else state_folder()) / "registry" / "cache"


def locate(reference: ModelReference, uri: str | None = None, cache_dir: str | None = None) -> Path:
    """A checked folder with the files that a reference means now, or meant last if MLflow cannot be reached.

    Args:
        reference: of the kind `registry`.
        uri: where MLflow is; None for `RERANKD_REGISTRY`, or the user's own store.
        cache_dir: folder for the copies; None for the user's state folder.

    Raises:
        ModelNotFoundError: there is no such model, alias or version.
        CorruptModelError: its files are not what was registered.
        VerificationError: an alias leads to a model that was never verified.
        UnavailableError: MLflow cannot be reached, and nothing is known here.
    """
    cache = Cache(cache_folder(cache_dir))
    store = Store(registry_uri(uri or os.environ.get("RERANKD_REGISTRY")))
    registry, known = Registry(store, cache), LastKnown(cache.root, store.where)
    revision = reference.revision or CHAMPION
    try:
        version = registry.resolve(reference.name, revision)
        if reference.alias:
            check_trusted(version)
        folder = registry.fetch(version)
    except UnavailableError as error:
        version = last_known(known, cache, reference.name, revision, error)
        _log.warning("%s is %s as last known: %s", reference, version, error.message)
        return cache.folder(version)
    for told in {revision, str(version.version)}:
        known.save(version, told)
    return folder


def last_known(known: LastKnown, cache: Cache, name: str, revision: str, error: UnavailableError) -> ModelVersion:
    """What a revision meant last, with a copy that is whole.

    Raises:
        UnavailableError: there is none; it says so beside what went wrong.
    """
    version = known.load(name, revision)
    if version is None or not cache.holds(version):
        raise UnavailableError(
            f"{error.message} No version of registry:{name}@{revision} is known on this machine.", hint=error.hint
        ) from error
    return version
