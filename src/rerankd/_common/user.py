"""The user who runs this program, for records of who did what."""

from __future__ import annotations

import getpass
import os


def current_user() -> str:
    """Return the user's name; the user id where there is no name, as in containers; `unknown` where there is neither.

    Example:
        >>> len(current_user()) > 0
        True
    """
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # ImportError: Windows without an environment
        name = ""
    if name:
        return name
    return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"
