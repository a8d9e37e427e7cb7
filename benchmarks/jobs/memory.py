"""Memory of workers over their lifetimes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import psutil

from benchmarks.usage import grew_not, resident_megabytes
from tests.integration.queueing import Worker

SAMPLE_SECONDS = 0.5


class Memory(threading.Thread):
    """Sampler of worker memory, across restarts."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._lives: dict[int, list[float]] = {}
        self._ended = threading.Event()

    def watch(self, worker: Worker) -> Worker:
        """Add a worker to the sampled ones."""
        self._lives[worker.process.pid] = []
        return worker

    def run(self) -> None:
        """Sample twice a second."""
        while not self._ended.wait(SAMPLE_SECONDS):
            for pid, samples in list(self._lives.items()):
                with contextlib.suppress(psutil.Error):
                    if megabytes := resident_megabytes(pid):  # nothing after its end
                        samples.append(megabytes)

    def end(self) -> list[list[float]]:
        """Stop, and return the megabytes of each lifetime."""
        self._ended.set()
        self.join()
        return [samples for samples in self._lives.values() if samples]


def flatness(lives: Iterable[Sequence[float]]) -> dict[str, Any]:
    """Return the memory of workers in both halves of their lives, without the time that they load in.

    Example:
        >>> flatness([[1.0, 100.0, 101.0, 102.0, 101.0]])["flat"]
        True
    """
    rows = [_halves(life) for life in lives]
    peak = max(max(row["first_half_megabytes"], row["second_half_megabytes"]) for row in rows)
    return {"workers": rows, "flat": all(row["flat"] for row in rows), "peak_megabytes": peak}


def _halves(life: Sequence[float]) -> dict[str, Any]:
    steady = life[len(life) // 5 :]
    middle = (len(steady) + 1) // 2
    first, second = max(steady[:middle]), max(steady[middle:], default=steady[-1])
    return {
        "seconds": round(len(life) * SAMPLE_SECONDS, 1),
        "first_half_megabytes": round(first, 1),
        "second_half_megabytes": round(second, 1),
        "flat": grew_not(first, second),
    }
