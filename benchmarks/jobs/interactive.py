"""Small interactive jobs, on an idle worker and while bulk work saturates it."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bulk import pairs, write
from benchmarks.jobs.bulk_run import start_run
from benchmarks.jobs.small_jobs import DOCUMENT_CHARACTERS, LATENCY, latency, requests
from benchmarks.jobs.worker import MeasuredWorker, measured
from benchmarks.timings import spread
from tests.integration.serving import until

DOCUMENTS, PAUSE_SECONDS = 5, 0.1
BULK_PAIRS, BEGUN_PAIRS = 1_000_000, 600


def interactive(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the latency of small sequential jobs: on an idle worker, and while bulk work saturates it."""
    milliseconds: dict[str, list[float]] = {"idle": [], "bulk": []}
    source = write(folder / "in.jsonl", pairs(BULK_PAIRS, seed=3))
    with measured(folder, arguments.model, arguments.threads) as measured_worker:
        for turn in range(2 * arguments.interactive_rounds):
            name = "bulk" if turn % 2 else "idle"
            with _saturated(measured_worker, source, folder) if name == "bulk" else contextlib.nullcontext():
                milliseconds[name] += _asked(measured_worker, arguments.interactive_jobs, 10_000 + 1000 * turn)
            print(f"  interactive: {name} {spread(milliseconds[name], *LATENCY)}", file=sys.stderr)
    return {
        "model": arguments.model,
        "threads": arguments.threads,
        "documents": DOCUMENTS,
        "characters": DOCUMENT_CHARACTERS,
        "jobs": len(milliseconds["idle"]),
        "concurrency": "one interactive job at a time, 0.1 s between them; one bulk run of pairs of about 45 tokens",
        "idle_ms": spread(milliseconds["idle"], *LATENCY),
        "bulk_ms": spread(milliseconds["bulk"], *LATENCY),
    }


def _asked(measured_worker: MeasuredWorker, jobs: int, seed: int) -> list[float]:
    """Return the milliseconds of sequential jobs."""
    taken = []
    for number in range(jobs):
        (request,) = requests(1, DOCUMENTS, DOCUMENT_CHARACTERS, seed + number)
        taken.append(latency(measured_worker, request) * 1000)
        time.sleep(PAUSE_SECONDS)
    return taken


@contextlib.contextmanager
def _saturated(measured_worker: MeasuredWorker, source: Path, folder: Path) -> Iterator[None]:
    before = measured_worker.used().pairs
    bulk = start_run(source, folder / "out.jsonl", "--workers", measured_worker.broker.url, "--restart")
    try:
        until(lambda: measured_worker.used().pairs > before + BEGUN_PAIRS or bulk.poll() is not None, "bulk begun")
        yield
        if bulk.poll() is not None:
            raise RuntimeError("The bulk run ended too early.")
    finally:
        bulk.terminate()
        bulk.wait(60)
