"""Sequential tiny jobs: the overhead of a job without its scoring."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.jobs.small_jobs import DOCUMENT_CHARACTERS, LATENCY, latency, requests
from benchmarks.jobs.worker import measured
from benchmarks.timings import spread
from rerankd import Reranker

WARM = 5


def tiny(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare a job of one short document, from submission to result, with the library."""
    reranker = Reranker(arguments.model, threads=arguments.threads)
    job, library = list[float](), list[float]()
    with measured(folder, arguments.model, arguments.threads) as measured_worker:
        for turn in range(arguments.tiny_jobs + WARM):
            first, second = (requests(1, 1, DOCUMENT_CHARACTERS, seed)[0] for seed in (2 * turn, 2 * turn + 1))
            begun = time.perf_counter()
            reranker.rank(*first)
            middle = time.perf_counter()
            latency(measured_worker, second)
            if turn >= WARM:
                library.append((middle - begun) * 1000)
                job.append((time.perf_counter() - middle) * 1000)
    return {
        "jobs": len(job),
        "model": arguments.model,
        "threads": arguments.threads,
        "job_ms": spread(job, *LATENCY),
        "library_ms": spread(library, *LATENCY),
        "overhead_ms": round(statistics.median(job) - statistics.median(library), 2),
    }
