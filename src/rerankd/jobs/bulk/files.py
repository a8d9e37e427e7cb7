"""File operations of a bulk run; a crash at any moment leaves files that the run can be resumed from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from rerankd._common import files
from rerankd.errors import InvalidRequestError

LOCK_SECONDS = 0.5


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Translate errors of writing a file.

    Raises:
        InvalidRequestError: the disk is full, the folder is missing, or permission is denied.
    """
    hint = "Check that the folder exists and is writable."
    full_hint = "Free disk space, then run the same command again: finished work is kept."
    with files.writable(path, hint=hint, full_hint=full_hint):
        yield


class AppendFile:
    """Unbuffered append-only file.

    Args:
        path: path of the file; it is created if it does not exist.
        length: bytes to keep; the rest is cut off.

    Raises:
        InvalidRequestError: it cannot be written, or has fewer bytes.
    """

    def __init__(self, path: Path, length: int) -> None:
        self._path = path
        with writable(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            size = os.fstat(self._file).st_size
            if size >= length:
                os.ftruncate(self._file, length)
                os.lseek(self._file, length, os.SEEK_SET)
        if size < length:
            os.close(self._file)
            raise InvalidRequestError(
                f"{path} is shorter ({size:,} bytes) than its checkpoint says ({length:,}).",
                hint="Start over with --restart.",
            )

    def append(self, data: bytes) -> None:
        """Append `data`; after an error some of it may be written."""
        left = memoryview(data)
        with writable(self._path):
            while left:
                left = left[os.write(self._file, left) :]

    def sync(self) -> None:
        """Flush the file to the disk."""
        with writable(self._path):
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def replace(path: Path, data: bytes) -> None:
    """Replace the content of a file in one step; the caller holds the lock of the run.

    Raises:
        InvalidRequestError: it cannot be written; the old content is untouched.
    """
    with writable(path):
        files.write_atomic(path, data, temporary=path.with_name(f"{path.name}.new"))


def rename(source: Path, target: Path) -> None:
    """Rename a file, durably."""
    with writable(target):
        os.replace(source, target)
        files.sync_folder(target.parent)


def remove(path: Path) -> None:
    """Remove a file if it exists."""
    with writable(path):
        path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file for the block, and remove it after; the lock of a process that dies is released.

    Raises:
        InvalidRequestError: another process holds it.
    """
    with writable(path):
        path.parent.stat()  # a folder that is missing is a mistake, and `files.lock_file` would make it
    # Not 0: a file that the last holder removes while we lock it has to be made again.
    lock = files.lock_file(path, timeout=LOCK_SECONDS)
    with writable(path):
        try:
            lock.acquire()
        except Timeout:  # an OSError itself
            raise InvalidRequestError(
                f"Another run is writing {path.name.removesuffix('.lock')}.", hint="Wait for it, or use another --out."
            ) from None
    try:
        yield
    finally:
        if os.name != "nt":  # an open file cannot be removed there; filelock does so when it closes it
            remove(path)
        lock.release()
