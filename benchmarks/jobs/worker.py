"""Real workers on a real Redis, and their resource use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.jobs.ends import JobEndListener
from benchmarks.metrics import fetch_metrics
from benchmarks.usage import processor_seconds
from rerankd.jobs.queue import JobQueue
from rerankd.settings import load_settings
from rerankd.wiring.jobs import open_queue
from tests.integration.queueing import Broker, Worker, broker, running_worker
from tests.integration.serving import free_port, until

# Only the worker's own cores, from its first thread on.
PINNED = """
import os, sys
os.sched_setaffinity(0, {int(core) for core in sys.argv.pop(1).split(",")})
from rerankd.cli.main import app
sys.argv.insert(1, "worker")
app()
"""


@dataclass(frozen=True, slots=True)
class WorkerUsage:
    """Work and processor time of a worker."""

    seconds: float
    pairs: float
    tokens: float
    padding: float
    batches: float

    def __sub__(self, other: WorkerUsage) -> WorkerUsage:
        return WorkerUsage(
            self.seconds - other.seconds,
            self.pairs - other.pairs,
            self.tokens - other.tokens,
            self.padding - other.padding,
            self.batches - other.batches,
        )


@dataclass
class MeasuredWorker:
    """A worker with its queue, its resource use readable."""

    worker: Worker
    queue: JobQueue
    ends: JobEndListener
    metrics_port: int
    broker: Broker

    def used(self) -> WorkerUsage:
        """Return the work and processor time so far."""
        samples = fetch_metrics(f"http://127.0.0.1:{self.metrics_port}")
        names = ("rerankd_computed_pairs_total", "rerankd_computed_tokens_total", "rerankd_padding_tokens_total")
        counts = [samples.get(name, 0.0) for name in (*names, "rerankd_batch_next_size_count")]
        return WorkerUsage(self.seconds(), *counts)

    def seconds(self) -> float:
        """Return the processor seconds of the worker so far."""
        return processor_seconds(self.worker.process.pid)

    def broker_seconds(self) -> float:
        """Return the processor seconds of Redis so far."""
        return processor_seconds(self.broker.process.pid) if self.broker.process else 0.0


@contextlib.contextmanager
def measured(folder: Path, model: str, threads: int) -> Iterator[MeasuredWorker]:
    """Start a Redis in that folder, a worker and a queue."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    with (
        broker(folder) as redis,
        started(redis.url, model, "--metrics-port", str(port), threads=threads) as worker,
        open_queue(load_settings(queue_url=redis.url)) as queue,
    ):
        ends = JobEndListener(queue)
        try:
            yield MeasuredWorker(worker, queue, ends, port, redis)
        finally:
            ends.close()


@contextlib.contextmanager
def started(url: str, model: str, *flags: str, threads: int, cores: Sequence[int] = ()) -> Iterator[Worker]:
    """Start a worker and wait until it is ready; pin it to `cores` if any are named."""
    program = ("-c", PINNED, ",".join(map(str, cores))) if cores else ("-m", "rerankd", "worker")
    command = ("--model", reference(model), "--threads", str(threads), *flags)
    with running_worker(url, *command, program=program) as made:
        _schedule_alike(made.process.pid)
        until(lambda: "working with" in made.log or made.process.poll() is not None, "worker up", 120.0)
        if made.process.poll() is not None:
            raise RuntimeError(f"The worker ended:\n{made.log}")
        yield made


def _schedule_alike(pid: int) -> None:
    """Give a worker's session the weight of this one: Linux shares processor time by session."""
    with contextlib.suppress(OSError):
        weight = Path("/proc/self/autogroup").read_text(encoding="ascii").split()[-1]
        Path(f"/proc/{pid}/autogroup").write_text(weight, encoding="ascii")


def reference(model: str) -> str:
    """Return a model's name, or the absolute path of its folder."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model
