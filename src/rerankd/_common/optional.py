"""Optional packages: imported where they are used, asked for by one sentence when they are missing."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from rerankd.errors import MissingDependencyError


def installed(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is a part of
        return False


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or say which extra brings it.

    Raises:
        MissingDependencyError: it is not installed; the hint is the pip line.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs the package {module.split('.')[0]!r}, which is not installed.",
            hint=f'Run: pip install "rerankd[{extra}]"',
        ) from error
