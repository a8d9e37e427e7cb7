"""Bulk work by one worker against the library over the same pairs in memory."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bulk import make_nano, pairs, write
from benchmarks.jobs.bulk_run import tokens_of_run
from benchmarks.jobs.worker import MeasuredWorker, measured
from benchmarks.timings import AlternatingTimings, rate
from rerankd import Reranker
from rerankd.jobs.bulk.queue import QueueExecutor

BAR = 0.95
WARM_PAIRS = 512


def throughput(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare a worker with the library for the bundled model, and for one that needs hardly any computation."""
    nano = str(make_nano(arguments.models))
    rows = [
        _row(folder / "mini", arguments.model, arguments.pairs, arguments.rounds),
        _row(folder / "nano", nano, arguments.nano_pairs, arguments.rounds),
    ]
    return {"bar": BAR, "rows": rows, "held": all(row["held"] for row in rows)}


def _row(folder: Path, model: str, count: int, rounds: int) -> dict[str, Any]:
    reranker = Reranker(model, threads=1)
    with measured(folder, model, 1) as measured_worker:
        race = Comparison(measured_worker, reranker, folder)
        for turn in range(rounds + 1):
            race.run(list(pairs(count if turn else WARM_PAIRS, seed=turn)), turn)
            print(f"  throughput, {Path(model).name}: turn {turn} of {rounds}", file=sys.stderr)
    ratios = race.turns.ratios("library", "bulk")
    return {
        "model": f"{Path(model).name} ({reranker.backend})",
        "threads": 1,
        "pairs": count,
        "tokens_per_pair": round(race.tokens / count, 1),
        **{f"{name}_pairs_per_second": rate(count, values) for name, values in race.turns.seconds.items()},
        **ratios,
        "held": ratios["ratio"] >= BAR,
        "processor_ms_per_pair": race.processor_ms(count),
    }


@dataclass(frozen=True, slots=True)
class RoundCost:
    """Wall-clock seconds, and processor seconds of this process, of the worker and of Redis."""

    clock: float
    here: float
    worker: float
    broker: float


@dataclass
class Comparison:
    """A worker and the library over the same pairs, in alternating rounds.

    Attributes:
        others: seconds on cores beside the worker's: Redis and this process, which reads and writes.
        tokens: of the pairs of the last turn.
    """

    own: MeasuredWorker
    reranker: Reranker
    folder: Path
    turns: AlternatingTimings = field(default_factory=AlternatingTimings)
    others: list[float] = field(default_factory=list)
    tokens: int = 0

    def run(self, rows: list[dict[str, str]], turn: int) -> None:
        """Run one round of both; the first warms up."""
        source = write(self.folder / "in.jsonl", iter(rows))
        inputs = [(row["query"], row["document"]) for row in rows]
        executor = QueueExecutor(self.own.queue)
        works: dict[str, Callable[[], object]] = {
            "library": lambda: self.reranker.score(inputs),
            "bulk": lambda: self._bulk(source, executor),
        }
        for name in ("library", "bulk") if turn % 2 else ("bulk", "library"):
            spent = self._spent(works[name])
            if turn:
                self._note(name, spent)

    def _bulk(self, source: Path, executor: QueueExecutor) -> None:
        self.tokens = tokens_of_run(source, self.folder / "out.jsonl", executor)

    def _spent(self, work: Callable[[], object]) -> RoundCost:
        begun, here, worker = time.perf_counter(), time.process_time(), self.own.seconds()
        broker = self.own.broker_seconds()
        work()
        took, here = time.perf_counter() - begun, time.process_time() - here
        return RoundCost(took, here, self.own.seconds() - worker, self.own.broker_seconds() - broker)

    def _note(self, name: str, spent: RoundCost) -> None:
        self.turns.note(name, spent.clock, spent.here if name == "library" else spent.worker)
        if name == "bulk":
            self.others.append(spent.here + spent.broker)

    def processor_ms(self, count: int) -> dict[str, float]:
        """Return the processor milliseconds of a pair; reading, writing and Redis run beside the worker."""
        processor = self.turns.processor
        seconds = {"library": processor["library"], "worker": processor["bulk"], "command_and_redis": self.others}
        return {name: round(1000 * statistics.median(values) / count, 4) for name, values in seconds.items()}
