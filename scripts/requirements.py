"""Print what rerankd and the named extras need, one requirement a line: `python scripts/requirements.py redis queue`.

An image installs these before rerankd itself, so that a new version of rerankd leaves that layer as it is.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(project: Path, extras: list[str]) -> list[str]:
    """Return the requirements of the package and of the extras, in the order of pyproject.toml."""
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    offered = table["optional-dependencies"]
    unknown = [extra for extra in extras if extra not in offered]
    if unknown:
        sys.exit(f"There is no extra {', '.join(unknown)}. Choose from: {', '.join(offered)}.")
    return [*table["dependencies"], *(line for extra in extras for line in offered[extra])]


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(Path("pyproject.toml"), sys.argv[1:])) + "\n")
