"""The few things that a run does to files, each so that a crash at any moment leaves something to go on from."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rerankd.errors import InvalidRequestError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", -1)}


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn what the system says when it cannot write into a sentence.

    Raises:
        InvalidRequestError: no space, no permission, no folder.
    """
    try:
        yield
    except OSError as error:
        hint = "Check that the folder is there and may be written."
        if error.errno in _NO_ROOM:
            hint = "Make room, then run the same command again: nothing that was scored is lost."
        raise InvalidRequestError(f"{path} cannot be written ({error.strerror or error}).", hint=hint) from error


class AppendFile:
    """A file that only grows at its end, unbuffered: what `append` was given is in the system's hands.

    Args:
        path: of the file, made if it is not there.
        length: bytes of it to keep; what is behind them goes.

    Raises:
        InvalidRequestError: it cannot be written, or is shorter than that.
    """

    def __init__(self, path: Path, length: int) -> None:
        self._path = path
        with writable(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            found = os.fstat(self._file).st_size
            if found >= length:
                os.ftruncate(self._file, length)
                os.lseek(self._file, length, os.SEEK_SET)
        if found < length:
            os.close(self._file)
            raise InvalidRequestError(
                f"{path} has {found:,} bytes, and {length:,} were written to it.", hint="Start over with --restart."
            )

    def append(self, data: bytes) -> None:
        """Write all of `data`; after an error part of it may be there."""
        left = memoryview(data)
        with writable(self._path):
            while left:
                left = left[os.write(self._file, left) :]

    def sync(self) -> None:
        """Return when everything is on the disk."""
        with writable(self._path):
            os.fsync(self._file)

    def close(self) -> None:
        """Close it."""
        os.close(self._file)


def replace(path: Path, data: bytes) -> None:
    """Put `data` in place of what the file holds: at any moment it is the old or the new, whole."""
    made = path.with_name(f"{path.name}.new")
    with writable(path):
        file = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        finally:
            os.close(file)
    rename(made, path)


def rename(source: Path, target: Path) -> None:
    """Give a file its name for good."""
    with writable(target):
        os.replace(source, target)
        _sync_folder(target.parent)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    with writable(path):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; it goes when the process does, however that ends.

    Raises:
        InvalidRequestError: another process holds it.
    """
    file = _lock(path)
    try:
        yield
    finally:
        try:
            remove(path)
        finally:
            os.close(file)


def _lock(path: Path) -> int:
    while True:
        with writable(path):
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if fcntl is None:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(file).st_ino:
                return file
        except BlockingIOError:
            os.close(file)
            raise InvalidRequestError(
                f"Another run is writing {path.name.removesuffix('.lock')}.", hint="Wait for it, or use another --out."
            ) from None
        except FileNotFoundError:
            pass
        # The one before us removed the file between our opening and our locking it.
        os.close(file)
