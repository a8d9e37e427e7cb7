"""Local copies of versions, by content, and what is known of the registry when it cannot be asked.

A copy is there whole and checked, or not at all: it is made in a folder of its own and moved into place. Copies of the
same content are one, whatever they are called. Instances of one machine may share a cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rerankd.errors import CorruptModelError, UnavailableError
from rerankd.models.manifest import sha256
from rerankd.registry.version import ModelVersion

KEPT_COPIES = 6
KEPT_SECONDS = 7 * 86_400
STALE_SECONDS = 86_400
_PARTIAL = ".fetch-"


class Cache:
    """Folders by content.

    Args:
        root: the cache's folder; made when something is put in.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, version: ModelVersion) -> Path:
        """Where a version's copy is or will be."""
        return self.root / version.content

    def holds(self, version: ModelVersion) -> bool:
        """Whether there is a copy, whole and unchanged."""
        folder = self.folder(version)
        return folder.is_dir() and not faults(folder, version)

    def fetch(self, version: ModelVersion, get: Callable[[str, Path], Path], *, anew: bool = False) -> Path:
        """The copy of a version, made if need be.

        Args:
            version: whose files are wanted.
            get: fetches the file of a name into a folder and tells where it is.
            anew: also if there is a copy, to see whether the registry has the files still.

        Raises:
            CorruptModelError: what came is not what was registered.
            UnavailableError: the files cannot be fetched now, or not be kept.
        """
        target = self.folder(version)
        if not anew and self.holds(version):
            with contextlib.suppress(OSError):
                os.utime(target)
            return target
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._tidy(version.content)
            partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.root))
            try:
                for name in version.files:
                    _take(get(name, partial), partial / name)
                if found := faults(partial, version):
                    raise CorruptModelError(
                        f"{version}: {found}.", hint="Register the model again; the registry's copy was damaged."
                    )
                self._place(partial, version)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            raise UnavailableError(
                f"{self.root} cannot hold {version} ({error.strerror or error}).", hint="Check the folder and its disk."
            ) from error
        return target

    def _place(self, partial: Path, version: ModelVersion) -> None:
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

    def _tidy(self, wanted: str) -> None:
        """Remove what broke off, and copies that nobody has asked for in a week, but for the newest few."""
        now = time.time()
        entries = [(path, path.stat().st_mtime) for path in self.root.iterdir() if path.is_dir()]
        for path, changed in entries:
            if path.name.startswith(_PARTIAL) and now - changed > STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        copies = sorted((one for one in entries if len(one[0].name) == 64), key=lambda one: one[1], reverse=True)
        for path, changed in copies[KEPT_COPIES:]:
            if now - changed > KEPT_SECONDS and path.name != wanted:
                shutil.rmtree(path, ignore_errors=True)


def _take(found: Path, target: Path) -> None:
    if found != target:
        found.rename(target)


def faults(folder: Path, version: ModelVersion) -> str:
    """What is wrong with a copy; empty for nothing."""
    for name, expected in version.files.items():
        path = folder / name
        if not path.is_file() or path.is_symlink():
            return f"{name} is missing"
        if path.stat().st_size != version.sizes[name]:
            return f"{name} has {path.stat().st_size:,} bytes instead of {version.sizes[name]:,}"
        if sha256(path) != expected:
            return f"the SHA-256 of {name} is not the registered one"
    return ""


class LastKnown:
    """What an alias or a number led to when it was last asked and found good. Files, each replaced as a whole.

    Args:
        root: the cache's folder.
        where: the registry that is meant.
    """

    def __init__(self, root: Path, where: str) -> None:
        self._folder = root / f"known-{hashlib.sha256(where.encode()).hexdigest()[:12]}"

    def note(self, version: ModelVersion, revision: str) -> None:
        """Keep what a revision led to; a disk that is full is no reason to fail."""
        content = asdict(version) | {"record": version.record()}
        text = json.dumps({name: content[name] for name in ("record", *_ROW)})
        path = self._path(version.name, revision)
        with contextlib.suppress(OSError):
            if path.is_file() and path.read_text(encoding="utf-8") == text:
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.partial")
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)

    def last(self, name: str, revision: str) -> ModelVersion | None:
        """What it led to; None if that was never known, or what was kept cannot be read."""
        try:
            said = json.loads(self._path(name, revision).read_text(encoding="utf-8"))
            return ModelVersion.read(said.pop("record"), **{key: said[key] for key in _ROW})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def _path(self, name: str, revision: str) -> Path:
        return self._folder / f"{name}@{revision}.json"


_ROW = ("name", "version", "run_id", "created", "approved")
