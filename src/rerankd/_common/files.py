"""Files that other processes may read or write at the same time: atomic replacement, errors of writing, and locks."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rerankd._common.error_text import first_line
from rerankd.errors import InvalidRequestError, RerankdError

if TYPE_CHECKING:
    from filelock import FileLock

DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", -1)}
_umask_lock = threading.Lock()
_umask_before = 0
_private_blocks = 0  # number of blocks of `private_files` that are being run


@contextmanager
def writable(
    path: Path | str,
    *,
    hint: str = "Check the folder.",
    full_hint: str = "Free disk space, then try again.",
    raises: type[RerankdError] = InvalidRequestError,
) -> Iterator[None]:
    """Translate errors of writing a file, or what a folder holds.

    Args:
        path: path to name in the message, or a phrase that holds it.
        hint: the fix.
        full_hint: the fix if the disk is full.
        raises: class of the error.

    Raises:
        RerankdError: a `raises`: the disk is full, the folder is missing, or permission is denied.

    Example:
        >>> with writable("report.html", hint="Name another file."):
        ...     raise OSError(errno.EROFS, "Read-only file system")
        Traceback (most recent call last):
        rerankd.errors.InvalidRequestError: report.html cannot be written (Read-only file system). Name another file.
    """
    try:
        yield
    except OSError as error:
        fix = full_hint if error.errno in DISK_FULL else hint
        raise raises(f"{path} cannot be written ({error.strerror or first_line(error)}).", hint=fix) from error


def write_atomic(
    path: Path,
    content: bytes,
    *,
    mode: int | None = None,
    keep_owner: bool = False,
    temporary: Path | None = None,
) -> None:
    """Replace a file in one step: readers see the old content or the new one, also after a crash.

    Args:
        path: file to write; its folder must exist.
        content: the new content.
        mode: permissions of the file; None keeps those of the file that is replaced, or the umask's for a new one.
        keep_owner: True keeps the owner of the file that is replaced, where this process may set it.
        temporary: file in the same folder to write first, for a caller that holds a lock: what a killed process left
            there is overwritten. None for a new name.

    Raises:
        OSError: the file cannot be written; the old one is untouched.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_atomic(folder / "state.json", b"{}")
        >>> (folder / "state.json").read_bytes()
        b'{}'
    """
    path = Path(os.path.realpath(path))  # a symbolic link keeps pointing where it does
    if mode is None:
        mode = _mode_of(path)
    if temporary is None:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
        descriptor, name = os.open(temporary, flags, 0o600), str(temporary)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        if keep_owner and hasattr(os, "chown") and path.exists():
            old = path.stat()
            with suppress(PermissionError):
                os.chown(name, old.st_uid, old.st_gid)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which becomes `target` if the block succeeds and is deleted if it raises.

    It is made beside `target`, so that the last step is a rename. A folder that `target` names already is replaced.

    Args:
        target: the folder to make.

    Yields:
        The folder to fill.

    Raises:
        OSError: a folder cannot be made or moved; `target` is as it was.

    Example:
        >>> target = Path(tempfile.mkdtemp()) / "model"
        >>> with atomic_folder(target) as folder:
        ...     _ = (folder / "config.json").write_text("{}")
        >>> target.is_dir()
        True
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    working.chmod(0o777 & ~_umask())
    try:
        yield working
        replace_folder(working, target)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def replace_folder(source: Path, target: Path) -> None:
    """Rename `source` to `target`; what `target` held before is deleted once the new content is in place.

    Raises:
        OSError: the folders are on different file systems or not writable; `target` is as it was.
    """
    old: Path | None = None
    if target.is_symlink() or target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent)) / target.name
        target.rename(old)
    try:
        source.rename(target)
    except OSError:
        if old is not None:
            old.rename(target)
            old.parent.rmdir()
        raise
    if old is not None:
        shutil.rmtree(old.parent, ignore_errors=True)


@contextmanager
def private_files() -> Iterator[None]:
    """Make files that only their owner may read or write, also in a library that takes no mode for them.

    New files have mode 0600 at most, new folders 0700. The mode belongs to the process, so that what other threads make
    meanwhile is private too.

    Example:
        >>> with private_files():
        ...     path = Path(tempfile.mkdtemp()) / "index"
        ...     path.touch()
        >>> oct(path.stat().st_mode & 0o777)
        '0o600'
    """
    global _private_blocks, _umask_before
    with _umask_lock:
        if not _private_blocks:
            _umask_before = os.umask(0o077)
        _private_blocks += 1
    try:
        yield
    finally:
        with _umask_lock:
            _private_blocks -= 1
            if not _private_blocks:
                os.umask(_umask_before)


def lock_file(path: Path, *, timeout: float = -1, mode: int = -1) -> FileLock:
    """Return a lock between processes, and between threads, on a file that is made for it.

    Args:
        path: lock file; it stays where it is after the lock is released.
        timeout: seconds to wait for the lock; 0 to fail at once, negative to wait without end.
        mode: permissions of the file; negative for those of the umask.

    Returns:
        A context manager; entering it raises `filelock.Timeout` if the lock is not free in time. The operating system
        releases the lock of a process that dies.

    Example:
        >>> with lock_file(Path(tempfile.mkdtemp()) / "store.lock", timeout=5):
        ...     pass
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, timeout=timeout, mode=mode)


def _mode_of(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o7777
    except FileNotFoundError:
        return 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that a file that was renamed in it keeps its new name after a power failure."""
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
