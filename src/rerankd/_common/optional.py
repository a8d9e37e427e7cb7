"""Optional packages: imported at their use, with an error that names the extra if they are missing."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from rerankd.errors import MissingDependencyError


def installed(module: str) -> bool:
    """Return True if a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional module.

    Args:
        module: full name of the module.
        extra: extra of rerankd that installs it.
        purpose: feature that needs it, to begin the message with.

    Raises:
        MissingDependencyError: the module is not installed; the hint is the pip command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs the package {module.split('.')[0]!r}, which is not installed.",
            hint=f'Run: pip install "rerankd[{extra}]"',
        ) from error
