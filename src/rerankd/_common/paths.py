"""Where programs keep what they know between runs."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def state_folder() -> Path:
    """The folder for it on this system; it may not be there yet."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "rerankd"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "rerankd"


def make_private(path: Path) -> None:
    """Make an empty file that its owner alone may read, and its folder, where there is none.

    A file that is there is not even opened: closing it would end the locks that SQLite holds on it in this process, and
    the next process that closes the same database would take the changes away that others of it are still reading.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
