"""Many small concurrent jobs against one job with all their pairs."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.jobs.small_jobs import DOCUMENT_CHARACTERS, Request, ranking, requests
from benchmarks.jobs.tiny import tiny
from benchmarks.jobs.worker import MeasuredWorker, WorkerUsage, measured
from benchmarks.timings import AlternatingTimings

JOBS, JOB_DOCUMENTS = 32, 8
BAR = 1.3


def batching(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare many small concurrent jobs with one that has all their pairs, for packed int8 and for padded batches."""
    int8, fp32 = arguments.model, arguments.models / "mini-fp32"
    rows = [_row(folder / "int8", str(int8), arguments)]
    if fp32.is_dir():
        rows.append(_row(folder / "fp32", str(fp32), arguments))
    return {
        "jobs": JOBS,
        "documents_per_job": JOB_DOCUMENTS,
        "characters": DOCUMENT_CHARACTERS,
        "concurrency": f"{JOBS} jobs of {JOBS} owners, handed in from a thread each",
        "bar": BAR,
        "rows": rows,
        "tiny_job": tiny(folder / "tiny", arguments),
        "held": all(row["processor_time_ratio"] <= BAR and row["ratio"] <= BAR for row in rows),
    }


def _row(folder: Path, model: str, arguments: argparse.Namespace) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {"one": [], "many": []}
    used: dict[str, list[WorkerUsage]] = {"one": [], "many": []}
    with measured(folder, model, arguments.threads) as measured_worker:
        for turn in range(arguments.rounds + 1):
            for name in ("one", "many") if turn % 2 else ("many", "one"):
                made = requests(JOBS, JOB_DOCUMENTS, DOCUMENT_CHARACTERS, turn, mark="ab"[name == "one"])
                took, cost = _handed_in(measured_worker, made, together=name == "one")
                if turn:  # the first turn warms up
                    seconds[name].append(took)
                    used[name].append(cost)
            print(f"  batching, {Path(model).name}: turn {turn} of {arguments.rounds}", file=sys.stderr)
    return summary(seconds, used) | {"model": Path(model).name, "threads": arguments.threads}


def _handed_in(
    measured_worker: MeasuredWorker, made: Sequence[Request], *, together: bool
) -> tuple[float, WorkerUsage]:
    """Return the seconds from the submission to the last end, and the use of the worker."""
    before, working, begun = measured_worker.used(), measured_worker.seconds(), time.perf_counter()
    works = [[ranking(request) for request in made]] if together else [[ranking(request)] for request in made]
    with ThreadPoolExecutor(len(works)) as owners:
        jobs = list(
            owners.map(lambda n: measured_worker.queue.submit(works[n], tenant=f"owner {n}")[0].id, range(len(works)))
        )
    took = measured_worker.ends.wait(jobs) - begun
    working = measured_worker.seconds() - working
    return took, replace(measured_worker.used() - before, seconds=working)


def summary(seconds: dict[str, list[float]], used: dict[str, list[WorkerUsage]]) -> dict[str, Any]:
    """Return ratios of many small jobs to one large job, above 1 where the small ones take more, and the work done."""
    turns = AlternatingTimings(seconds, {name: [one.seconds for one in rounds] for name, rounds in used.items()})
    return {
        "tokens_per_pair": round(statistics.median(one.tokens / one.pairs for one in used["one"]), 1),
        **turns.ratios("many", "one"),
        **{name: _middle(seconds[name], used[name]) for name in ("one", "many")},
    }


def _middle(seconds: Sequence[float], used: Sequence[WorkerUsage]) -> dict[str, Any]:
    """Return the medians over the rounds."""

    def middle(of: Callable[[WorkerUsage], float]) -> float:
        return statistics.median(of(one) for one in used)

    return {
        "seconds": round(statistics.median(seconds), 3),
        "processor_seconds": round(middle(lambda u: u.seconds), 3),
        "pairs_per_batch": round(middle(lambda u: u.pairs / u.batches), 1),
        "batches": middle(lambda u: u.batches),
        "computed_pairs": middle(lambda u: u.pairs),
        "computed_tokens": middle(lambda u: u.tokens),
        "padding_tokens": middle(lambda u: u.padding),
    }
