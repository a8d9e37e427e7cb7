"""Optional packages: imported at their use, with an error that names the extra if they are missing."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit
from urllib.request import url2pathname

from rerankd.errors import MissingDependencyError


def installed(module: str) -> bool:
    """Return True if a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def install_command(extra: str) -> str:
    """Return the command that installs an extra of rerankd, in the way in which rerankd itself was installed.

    A clone's dependencies come with the versions of its `constraints.txt`; of a clone or wheel that is still there, no
    package index needs to have rerankd.

    Args:
        extra: name of the extra.
    """
    origin = _origin()
    if origin is not None and (origin / "constraints.txt").is_file():
        return f'cd {shlex.quote(str(origin))} && pip install -c constraints.txt -e ".[{extra}]"'
    if origin is not None and origin.is_file():
        return f"pip install {shlex.quote(f'rerankd[{extra}] @ {origin.as_uri()}')}"
    return f'pip install "rerankd[{extra}]"'


def _origin() -> Path | None:
    """Return the folder or wheel that rerankd was installed from (PEP 610); None if it came from an index."""
    try:
        origin = json.loads(distribution("rerankd").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    address = urlsplit(str(origin.get("url", "")))
    return Path(url2pathname(address.path)) if address.scheme == "file" else None


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
            hint=f"Run: {install_command(extra)}",
        ) from error
