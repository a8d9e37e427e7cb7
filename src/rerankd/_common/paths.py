"""Folders and files of the programs' own state."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def state_folder() -> Path:
    """Return the folder for state between runs on this system; it may not exist yet."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "rerankd"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "rerankd"


def make_private(path: Path) -> None:
    """Create an empty file that only its owner may read, and its folder, unless they exist.

    An existing file is not even opened: closing it would release the locks that SQLite holds on it in this process, and
    the next process that closes the same database would remove the log that other processes still read.

    Args:
        path: the file.

    Raises:
        OSError: the file cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
