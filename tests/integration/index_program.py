"""The program in a folder, for the commands on an index."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.program import rerankd


def run(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the program in a folder."""
    completed = rerankd(*arguments, folder=cwd)
    assert not check or completed.returncode == 0, completed.stderr
    return completed
