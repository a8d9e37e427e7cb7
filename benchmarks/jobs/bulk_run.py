"""Bulk runs from file to file: in this process over a queue, or as a command in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from rerankd.jobs.bulk.queue import QueueExecutor
from rerankd.jobs.bulk.run import BulkRun, run_bulk

RUN_SECONDS = 1800.0


def tokens_of_run(source: Path, out: Path, executor: QueueExecutor) -> int:
    """Run in this process and return the number of tokens."""
    return run_bulk(BulkRun(source, out, restart=True), executor).tokens


def start_run(source: Path, out: Path, *flags: str) -> subprocess.Popen[bytes]:
    """Start `rerankd bulk`; its messages are written beside its output."""
    command = [sys.executable, "-m", "rerankd", "bulk", str(source), "--out", str(out), *flags]
    with out.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def seconds_to_end(run: subprocess.Popen[bytes]) -> float:
    """Wait for its end, which it has to reach well.

    Raises:
        RuntimeError: it failed.
    """
    begun = time.perf_counter()
    try:
        code = run.wait(RUN_SECONDS)
    finally:
        run.kill()
    if code:
        raise RuntimeError(f"The bulk run ended with {code}.")
    return time.perf_counter() - begun
