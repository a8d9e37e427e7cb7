"""Local copies of versions, by content, and the last known targets of aliases, used while MLflow is unreachable.

A copy is complete and checked, or it does not exist: it is made in a working folder and renamed. Versions with the same
content share a copy. Instances of one machine may share a cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rerankd._common.files import write_atomic
from rerankd.errors import CorruptModelError, UnavailableError
from rerankd.models.manifest import sha256
from rerankd.registry.version import ModelVersion

KEPT_COPIES = 6
KEPT_SECONDS = 7 * 86_400
STALE_SECONDS = 86_400
_PARTIAL = ".fetch-"


class Cache:
    """Copies of versions, in folders that are named by their content.

    Args:
        root: folder of the cache; created when the first copy is made.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, version: ModelVersion) -> Path:
        """Return the folder of a version's copy, which may not exist yet."""
        return self.root / version.content

    def holds(self, version: ModelVersion) -> bool:
        """Return whether there is a complete, unchanged copy."""
        folder = self.folder(version)
        return folder.is_dir() and not find_fault(folder, version)

    def fetch(self, version: ModelVersion, download: Callable[[str, Path], Path], *, anew: bool = False) -> Path:
        """Return the folder of a version's copy, which is made if it is missing.

        Args:
            version: version to copy.
            download: downloads the file of a name into a folder, and returns its path.
            anew: True to download even if there is a copy, to check that the registry still has the files.

        Raises:
            CorruptModelError: the downloaded files are not the registered ones.
            UnavailableError: the files cannot be downloaded now, or the cache cannot be written.
        """
        target = self.folder(version)
        if not anew and self.holds(version):
            with contextlib.suppress(OSError):
                os.utime(target)
            return target
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._remove_unused(version.content)
            partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.root))
            try:
                for name in version.files:
                    _move(download(name, partial), partial / name)
                if fault := find_fault(partial, version):
                    raise CorruptModelError(
                        f"{version}: {fault}.", hint="Register the model again; the registry's copy is damaged."
                    )
                self._install(partial, version)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            raise UnavailableError(
                f"{version} cannot be stored in {self.root} ({error.strerror or error}).",
                hint="Check the folder and the free space on its disk.",
            ) from error
        return target

    def _install(self, partial: Path, version: ModelVersion) -> None:
        # Not `replace_folder`: a good copy that another instance made meanwhile must stay, for it may be mapped there.
        target = self.folder(version)
        if self.holds(version):
            return
        if target.exists():
            target.rename(partial.with_suffix(".bad"))
            shutil.rmtree(partial.with_suffix(".bad"), ignore_errors=True)
        try:
            partial.rename(target)
        except OSError:
            if not self.holds(version):  # else another instance was faster
                raise

    def _remove_unused(self, current: str) -> None:
        """Remove abandoned downloads, and copies that were not used for a week, except the newest few."""
        now = time.time()
        folders = [(path, path.stat().st_mtime) for path in self.root.iterdir() if path.is_dir()]
        for path, modified in folders:
            if path.name.startswith(_PARTIAL) and now - modified > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        copies = [(path, modified) for path, modified in folders if len(path.name) == 64]
        newest_first = sorted(copies, key=lambda copy: copy[1], reverse=True)
        for path, modified in newest_first[KEPT_COPIES:]:
            if now - modified > KEPT_SECONDS and path.name != current:
                shutil.rmtree(path, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    if source != target:
        source.rename(target)


def find_fault(folder: Path, version: ModelVersion) -> str:
    """Return what is wrong with a copy; empty if it is complete and unchanged."""
    for name, digest in version.files.items():
        path = folder / name
        if not path.is_file() or path.is_symlink():
            return f"{name} is missing"
        if path.stat().st_size != version.sizes[name]:
            return f"{name} has {path.stat().st_size:,} bytes instead of {version.sizes[name]:,}"
        if sha256(path) != digest:
            return f"the SHA-256 of {name} is not the registered one"
    return ""


class LastKnown:
    """Versions that aliases and numbers resolved to when MLflow was last reachable. One file each, replaced atomically.

    Args:
        root: folder of the cache.
        registry: address of the registry.
    """

    def __init__(self, root: Path, registry: str) -> None:
        self._folder = root / f"known-{hashlib.sha256(registry.encode()).hexdigest()[:12]}"

    def save(self, version: ModelVersion, revision: str) -> None:
        """Save the version that a revision led to; errors of the disk are ignored."""
        content = version.dump().encode()
        path = self._path(version.name, revision)
        with contextlib.suppress(OSError):
            if path.is_file() and path.read_bytes() == content:
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomic(path, content)

    def load(self, name: str, revision: str) -> ModelVersion | None:
        """Return the version that a revision led to last; None if there is none, or its file is damaged."""
        try:
            return ModelVersion.load(self._path(name, revision).read_bytes())
        except (OSError, ValueError):
            return None

    def _path(self, name: str, revision: str) -> Path:
        return self._folder / f"{name}@{revision}.json"
