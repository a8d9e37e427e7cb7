"""Where programs keep what they know between runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def state_folder() -> Path:
    """The folder for it on this system; it may not be there yet."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "rerankd"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "rerankd"
