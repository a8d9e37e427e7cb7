"""Two workers on one core each against one worker."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bulk import pairs, write
from benchmarks.jobs.bulk_run import tokens_of_run
from benchmarks.jobs.worker import started
from benchmarks.timings import AlternatingTimings, rate
from benchmarks.usage import processor_seconds
from rerankd.jobs.bulk.queue import QueueExecutor
from rerankd.jobs.queue import JobQueue
from rerankd.settings import load_settings
from rerankd.wiring.jobs import open_queue
from tests.integration.queueing import Worker, broker

BAR = 1.8
WARM_PAIRS = 256


def on_two_cores(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare one worker on one core, each core in turn, with two workers on one core each."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        return {"skipped": "this process may use one core only"}
    turns = AlternatingTimings()
    with _crews(folder, arguments.model, cores) as crews:
        for turn in range(arguments.rounds + 1):
            source = write(folder / "in.jsonl", pairs(arguments.pairs if turn else WARM_PAIRS, seed=100 + turn))
            for name in ("one", "two") if turn % 2 else ("two", "one"):
                crew = crews[2 if name == "two" else turn // 2 % 2]
                spent = crew.run(source, folder / "out.jsonl")
                if turn:  # the first turn warms up
                    turns.note(name, *spent)
            print(f"  two cores: turn {turn} of {arguments.rounds}", file=sys.stderr)
    ratios = turns.ratios("one", "two", 2.0)
    return {
        "model": arguments.model,
        "threads_per_worker": 1,
        "pairs": arguments.pairs,
        **{f"{name}_pairs_per_second": rate(arguments.pairs, values) for name, values in turns.seconds.items()},
        **ratios,
        "bar": BAR,
        "held": ratios["ratio"] >= BAR,
    }


@dataclass(frozen=True)
class PinnedWorkers:
    """Workers with one core each, and the queue that feeds them."""

    workers: Sequence[Worker]
    queue: JobQueue

    def run(self, source: Path, out: Path) -> tuple[float, float]:
        """Return the seconds of a bulk run, wall-clock and processor time of the workers."""
        executor = QueueExecutor(self.queue)
        begun, before = time.perf_counter(), self._processor_seconds()
        tokens_of_run(source, out, executor)
        return time.perf_counter() - begun, self._processor_seconds() - before

    def _processor_seconds(self) -> float:
        return sum(processor_seconds(worker.process.pid) for worker in self.workers)


@contextlib.contextmanager
def _crews(folder: Path, model: str, cores: Sequence[int]) -> Iterator[list[PinnedWorkers]]:
    """Yield three queues of one Redis: one worker for each core, and two workers together."""
    with broker(folder) as redis, contextlib.ExitStack() as stack:
        crews = []
        for database, group in enumerate((cores[:1], cores[1:], cores)):
            url = redis.url[: -len("0")] + str(database)
            workers = [stack.enter_context(started(url, model, threads=1, cores=[core])) for core in group]
            crews.append(PinnedWorkers(workers, stack.enter_context(open_queue(load_settings(queue_url=url)))))
        yield crews
