"""Standard streams as shells and daemons hand them over: closed, on a full disk, or a pipe that nobody reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RANK = f"{sys.executable} -m rerankd rank cat"


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "documents.txt").write_text("cats purr\ncafé cats\n")
    return subprocess.run(
        ["/bin/bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "code", "out", "err"),
    [
        (f"{RANK} - <&-", 0, "", "holds no documents"),
        (f"{RANK} documents.txt >&-", 0, "", ""),
        (f"{RANK} documents.txt 2>&-", 0, "cats purr", ""),
        (f"{RANK} documents.txt <&- >&- 2>&-", 0, "", ""),
        (f"{RANK} documents.txt >/dev/full", 2, "", "Error: Standard output cannot be written (No space left on"),
        (f"set -o pipefail; {RANK} documents.txt | true", 0, "", ""),
        (f"PYTHONIOENCODING=ascii {RANK} documents.txt", 0, '"caf\\u00e9 cats"', ""),
        (f"PYTHONIOENCODING=latin-1 {RANK} documents.txt", 0, '"caf\\u00e9 cats"', ""),
        (f"PYTHONIOENCODING=ascii {sys.executable} -m rerankd demo --json", 0, "\\u", ""),
        (f"PYTHONIOENCODING=ascii {sys.executable} -m rerankd rank cat documents.txt --help", 0, "Usage", ""),
    ],
)
def test_streams_that_cannot_be_used_are_no_traceback(
    command: str, code: int, out: str, err: str, tmp_path: Path
) -> None:
    done = shell(command, tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert out in done.stdout
    assert err in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"documents.txt"}
