"""Workers and Redis that are killed in the middle of a run, against an undisturbed run."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bulk import make_nano, pairs, write
from benchmarks.jobs.bulk_run import RUN_SECONDS, seconds_to_end, start_run
from benchmarks.jobs.memory import Memory, flatness
from benchmarks.jobs.worker import reference, started
from benchmarks.usage import grew_not
from tests.integration.queueing import Broker, Worker, broker
from tests.integration.serving import until

Plan = Sequence[tuple[float, str]]
FAULTS: Plan = ((0.15, "worker"), (0.35, "worker"), (0.55, "redis"), (0.75, "worker"))


def faults(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Score one file in process, by two undisturbed workers, and by two workers that are killed together with Redis."""
    count = arguments.fault_pairs
    model = str(make_nano(arguments.models, "small", layers=4, hidden=128))
    source = write(folder / "in.jsonl", pairs(count, seed=9))
    expected = folder / "expected.jsonl"
    in_process = seconds_to_end(start_run(source, expected, "--model", reference(model)))
    print(f"  faults: in process {in_process:.0f} s", file=sys.stderr)
    task = Task(model, source, expected, arguments.lease_seconds)
    calm = _by_workers(task, folder / "calm", ())
    print(f"  faults: undisturbed {calm.seconds:.0f} s", file=sys.stderr)
    hit = _by_workers(task, folder / "hit", FAULTS)
    comparison = compare(expected, hit.out, count)
    return {
        "model": "random weights, 4 layers of 128, int8",
        "workers": 2,
        "threads_per_worker": 1,
        "lease_seconds": arguments.lease_seconds,
        "pairs": count,
        "expected_from": "a run in process, without a queue",
        "undisturbed_identical": compare(expected, calm.out, count)["identical"],
        "in_process_seconds": round(in_process, 1),
        "undisturbed_seconds": round(calm.seconds, 1),
        "disturbed_seconds": round(hit.seconds, 1),
        "seconds_lost": round(hit.seconds - calm.seconds, 1),
        "events": hit.events,
        **comparison,
        "memory_undisturbed": calm.memory,
        "memory": hit.memory,
        "held": comparison["identical"] and comparison["missing"] == 0 and comparison["twice"] == 0,
        # Workers of the disturbed run wait, idle, and work again: what they reach counts, not when.
        "memory_held": calm.memory["flat"] and grew_not(calm.memory["peak_megabytes"], hit.memory["peak_megabytes"]),
    }


def compare(expected: Path, output: Path, count: int) -> dict[str, Any]:
    """Compare the output of a run with the expected bytes, and count the pairs that have one score."""
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    ids = [row["id"] for row in rows if isinstance(row.get("raw_score"), float)]
    return {
        "scored": len(set(ids)),
        "missing": count - len(set(ids)),
        "twice": len(ids) - len(set(ids)),
        "identical": expected.read_bytes() == output.read_bytes(),
    }


@dataclass(frozen=True, slots=True)
class Task:
    """Input of the workers and the output that is expected."""

    model: str
    source: Path
    expected: Path
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """Outcome of a run: output, seconds, memory, and the time of each fault."""

    out: Path
    seconds: float
    memory: dict[str, Any]
    events: list[dict[str, Any]]


def _by_workers(task: Task, folder: Path, plan: Plan) -> Run:
    """Run with two workers and inject the faults; Redis uses the folder, and the output is written beside it."""
    # A small cache: full within seconds, so that memory shows what leaks.
    flags = ("--lease-seconds", str(task.lease_seconds), "--cache-entries", "1000")
    folder.mkdir()
    out = folder.with_suffix(".jsonl")
    with broker(folder) as redis, contextlib.ExitStack() as stack:
        memory = Memory()

        def start() -> Worker:
            return memory.watch(stack.enter_context(started(redis.url, task.model, *flags, threads=1)))

        workers = [start(), start()]
        memory.start()
        bulk = start_run(task.source, out, "--workers", redis.url)
        begun = time.perf_counter()
        try:
            events = _disturb(plan, FaultTargets(redis, workers, start, bulk, out, task.expected, begun))
            seconds_to_end(bulk)
        finally:
            bulk.kill()
            lives = memory.end()
        return Run(out, time.perf_counter() - begun, flatness(lives), events)


@dataclass
class FaultTargets:
    """Targets of faults."""

    redis: Broker
    workers: list[Worker]
    start: Callable[[], Worker]
    bulk: subprocess.Popen[bytes]
    out: Path
    expected: Path
    begun: float

    def reach(self, share: float) -> None:
        """Return when so much of the output is there.

        Raises:
            RuntimeError: the run was over before.
        """
        until(lambda: self._share() >= share or self.bulk.poll() is not None, f"at {share:.0%}", RUN_SECONDS)
        if self.bulk.poll() is not None:
            raise RuntimeError(f"The run was over before {share:.0%}.")

    def _share(self) -> float:
        part = self.out.with_name(f"{self.out.name}.part")
        with contextlib.suppress(FileNotFoundError):
            return part.stat().st_size / self.expected.stat().st_size
        return 1.0 if self.out.exists() else 0.0

    def kill_redis(self) -> None:
        """Kill Redis and start it again."""
        self.redis.stop(signal.SIGKILL)
        self.redis.start()

    def kill_worker(self, victim: int) -> None:
        """Kill one of the two workers and start another in its place."""
        self.workers[victim].process.kill()
        self.workers[victim].process.wait()
        self.workers[victim] = self.start()


def _disturb(plan: Plan, scene: FaultTargets) -> list[dict[str, Any]]:
    events = []
    for number, (share, what) in enumerate(plan):
        scene.reach(share)
        moment = time.perf_counter()
        if what == "redis":
            scene.kill_redis()
        else:
            scene.kill_worker(number % 2)
        events.append(
            {
                "what": f"kill -9 {what}, started again",
                "at_share": share,
                "at_seconds": round(moment - scene.begun, 1),
                "back_after_seconds": round(time.perf_counter() - moment, 2),
            }
        )
        print(f"  faults: {json.dumps(events[-1])}", file=sys.stderr)
    return events
