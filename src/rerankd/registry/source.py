"""References of the kind `registry:NAME@ALIAS`: from a reference to a folder with the files of the version.

`rerankd.models.sources` names `locate` as the source of these references. It needs no settings, so that
`Reranker("registry:medical")` works in any program.
"""

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
    """Return the address of MLflow; a store in the user's state folder if none is set."""
    return setting or f"sqlite:///{state_folder() / 'registry' / 'mlflow.sqlite'}"


def cache_folder(cache_dir: str | None) -> Path:
    """Return the folder for copies of versions."""
    return (Path(cache_dir).expanduser() if cache_dir else state_folder()) / "registry" / "cache"


def open_registry(uri: str | None = None, *, cache_dir: str | None = None, gate_key: str | None = None) -> Registry:
    """Return a registry; MLflow is first contacted when it is used.

    Args:
        uri: address of MLflow, `sqlite:///FILE` or `http(s)://...`; None for a store in the user's state folder.
        cache_dir: folder for copies of versions; None for the user's state folder.
        gate_key: key that gate records must be signed with; None to accept unsigned ones.

    Example:
        >>> open_registry("http://localhost:5000").store.where
        'http://localhost:5000'
    """
    return Registry(Store(registry_uri(uri)), Cache(cache_folder(cache_dir)), gate_key)


def locate(reference: ModelReference, uri: str | None = None, cache_dir: str | None = None) -> Path:
    """Return a checked folder with the files of a reference, as last known if MLflow cannot be reached.

    Args:
        reference: reference of the kind `registry`.
        uri: address of MLflow; None for `RERANKD_REGISTRY`, or a store in the user's state folder.
        cache_dir: folder for copies; None for the user's state folder.

    Raises:
        ModelNotFoundError: there is no such model, alias or version.
        CorruptModelError: the files are not the registered ones.
        VerificationError: an alias points to a model that is not verified.
        UnavailableError: MLflow cannot be reached, and no version is known on this machine.
    """
    registry = open_registry(uri or os.environ.get("RERANKD_REGISTRY"), cache_dir=cache_dir)
    cache, known = registry.cache, LastKnown(registry.cache.root, registry.store.where)
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
    for name in {revision, str(version.version)}:
        known.save(version, name)
    return folder


def last_known(known: LastKnown, cache: Cache, name: str, revision: str, error: UnavailableError) -> ModelVersion:
    """Return the version that a revision led to last, if its copy is complete.

    Raises:
        UnavailableError: there is none.
    """
    version = known.load(name, revision)
    if version is None or not cache.holds(version):
        raise UnavailableError(
            f"{error.message} No version of registry:{name}@{revision} is known on this machine.", hint=error.hint
        ) from error
    return version
