"""`python -m benchmarks.jobs`: jobs and bulk work through a real Redis to real workers, against the library.

Writes `benchmarks/results/jobs.json`. What is compared takes turns, and ratios are taken turn by turn; processor time
stands beside time on the clock, since what others on the machine take counts in the latter. Redis keeps everything on
disk before it answers (`appendonly yes`, `appendfsync always`).

- batching: many small jobs of different owners at once, against one job with all their pairs; and what one tiny job
  costs beside its computing.
- throughput: a bulk run from file to file by one worker, against one `Reranker.score` over the same pairs in memory.
- cores: two workers on a core each against one.
- faults: workers that are killed and a Redis that is, against a run that nothing happens to; memory of the workers.
- interactive: small jobs while bulk work saturates the worker, against an idle one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks import RESULTS
from benchmarks.bulk import make_nano, pairs, write
from benchmarks.machine import machine
from benchmarks.metrics import fetch_metrics
from benchmarks.timings import Turns, rate, spread
from benchmarks.usage import grew_not, processor_seconds, resident_megabytes
from rerankd.demo import load_traps
from rerankd.jobs.job import RankWork
from rerankd.jobs.queue import JobQueue, open_queue
from rerankd.jobs.results import rows_of
from rerankd.models.session import usable_cores
from rerankd.settings import load_settings
from rerankd.types import Document, RerankRequest
from tests.integration.queueing import Broker, Worker, broker, running_worker, until
from tests.integration.serving import free_port

# Only the worker's own cores, from its first thread on.
PINNED = """
import os, sys
os.sched_setaffinity(0, {int(core) for core in sys.argv.pop(1).split(",")})
from rerankd.cli.main import app
sys.argv.insert(1, "worker")
app()
"""
JOBS, JOB_DOCUMENTS, DOCUMENT_CHARACTERS = 32, 8, 100
BATCHING_BAR, THROUGHPUT_BAR, CORES_BAR = 1.3, 0.95, 1.8
FAULTS = ((0.15, "worker"), (0.35, "worker"), (0.55, "redis"), (0.75, "worker"))
RUN_SECONDS, END_SECONDS, SAMPLE_SECONDS = 1800.0, 120.0, 0.5
INTERACTIVE_DOCUMENTS = 5
LATENCY = ("p50", "p95", "max")
Request = tuple[str, list[str]]


class Ends:
    """Hears when jobs end, at the moment at which they do.

    Args:
        queue: of the jobs.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue, self._ended = queue, dict[str, float]()
        self._heard = threading.Condition()
        self._stop = queue.store.watch(self._hear)

    def _hear(self, job: str) -> None:
        with self._heard:
            self._ended.setdefault(job, time.perf_counter())
            self._heard.notify_all()

    def wait(self, jobs: Iterable[str]) -> float:
        """The moment at which the last of them ended.

        Raises:
            RuntimeError: one did not succeed, or not in time.
        """
        names = set(jobs)
        with self._heard:
            if not self._heard.wait_for(lambda: names <= self._ended.keys(), END_SECONDS):
                raise RuntimeError(f"{len(names - self._ended.keys())} jobs did not end in {END_SECONDS:.0f} s.")
            last = max(self._ended[name] for name in names)
        for name in names:
            found = self._queue.store.get(name)
            if found is None or found.state != "succeeded":
                raise RuntimeError(f"A job ended as {found.state if found else 'nothing'}.")
        return last

    def close(self) -> None:
        """Listen no more."""
        self._stop()


@dataclass(frozen=True, slots=True)
class Used:
    """What a worker has computed, and what it took."""

    seconds: float
    pairs: float
    tokens: float
    padding: float
    batches: float

    def __sub__(self, other: Used) -> Used:
        return Used(
            self.seconds - other.seconds,
            self.pairs - other.pairs,
            self.tokens - other.tokens,
            self.padding - other.padding,
            self.batches - other.batches,
        )


@dataclass
class Measured:
    """A worker whose use is read, with a queue that it works."""

    worker: Worker
    queue: JobQueue
    ends: Ends
    metrics_port: int
    broker: Broker

    def used(self) -> Used:
        """So far."""
        found = fetch_metrics(f"http://127.0.0.1:{self.metrics_port}")
        names = ("rerankd_computed_pairs_total", "rerankd_computed_tokens_total", "rerankd_padding_tokens_total")
        counts = [found.get(name, 0.0) for name in (*names, "rerankd_batch_next_size_count")]
        return Used(self.seconds(), *counts)

    def seconds(self) -> float:
        """What the worker has used of cores so far."""
        return processor_seconds(self.worker.process.pid)

    def broker_seconds(self) -> float:
        """What Redis has used of cores so far."""
        return processor_seconds(self.broker.process.pid) if self.broker.process else 0.0


@contextlib.contextmanager
def started(url: str, model: str, *flags: str, threads: int, cores: Sequence[int] = ()) -> Iterator[Worker]:
    """A worker, ready; on its own cores if any are named."""
    program = ("-c", PINNED, ",".join(map(str, cores))) if cores else ("-m", "rerankd", "worker")
    given = ("--model", reference(model), "--threads", str(threads), *flags)
    with running_worker(url, *given, program=program) as made:
        _schedule_alike(made.process.pid)
        until(lambda: "working with" in made.log or made.process.poll() is not None, "worker up", 120.0)
        if made.process.poll() is not None:
            raise RuntimeError(f"The worker ended:\n{made.log}")
        yield made


def _schedule_alike(pid: int) -> None:
    """A worker has a session of its own; give it the weight that this one has on Linux, which shares by session."""
    with contextlib.suppress(OSError):
        weight = Path("/proc/self/autogroup").read_text(encoding="ascii").split()[-1]
        Path(f"/proc/{pid}/autogroup").write_text(weight, encoding="ascii")


def reference(model: str) -> str:
    """A model's name, or its folder as seen from anywhere."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


@contextlib.contextmanager
def measured(folder: Path, model: str, threads: int) -> Iterator[Measured]:
    """A Redis, a worker and a queue."""
    port = free_port()
    with (
        broker(folder) as redis,
        started(redis.url, model, "--metrics-port", str(port), threads=threads) as worker,
        open_queue(load_settings(queue_url=redis.url)) as queue,
    ):
        ends = Ends(queue)
        try:
            yield Measured(worker, queue, ends, port, redis)
        finally:
            ends.close()


def requests(count: int, documents: int, characters: int, seed: int, mark: str = "") -> list[Request]:
    """Small requests of bundled texts; every document is another, so that none is cached or shared.

    Another mark makes other texts of the same length.
    """
    draw = random.Random(seed)
    traps = load_traps()
    texts = [text for trap in traps for text in trap.documents]

    def document(number: int) -> str:
        return f"{seed} {number} {mark} {' '.join(draw.choices(texts, k=8))}"[:characters]

    return [
        (f"{draw.choice(traps).query} {seed} {n}", [document(n * documents + place) for place in range(documents)])
        for n in range(count)
    ]


def ranking(request: Request) -> RankWork:
    """A request as work of a job."""
    query, documents = request
    return RankWork(RerankRequest(query, [Document(text) for text in documents]))


# -- many small jobs


def batching(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Many small jobs at once against one with all their pairs, for a packed int8 model and for padded batches."""
    int8, fp32 = arguments.model, arguments.models / "mini-fp32"
    rows = [_batching(folder / "int8", str(int8), arguments)]
    if fp32.is_dir():
        rows.append(_batching(folder / "fp32", str(fp32), arguments))
    return {
        "jobs": JOBS,
        "documents_per_job": JOB_DOCUMENTS,
        "characters": DOCUMENT_CHARACTERS,
        "concurrency": f"{JOBS} jobs of {JOBS} owners, handed in from a thread each",
        "bar": BATCHING_BAR,
        "rows": rows,
        "tiny_job": tiny(folder / "tiny", arguments),
        "held": all(row["processor_time_ratio"] <= BATCHING_BAR and row["ratio"] <= BATCHING_BAR for row in rows),
    }


def _batching(folder: Path, model: str, arguments: argparse.Namespace) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {"one": [], "many": []}
    used: dict[str, list[Used]] = {"one": [], "many": []}
    with measured(folder, model, arguments.threads) as own:
        for turn in range(arguments.rounds + 1):
            for name in ("one", "many") if turn % 2 else ("many", "one"):
                made = requests(JOBS, JOB_DOCUMENTS, DOCUMENT_CHARACTERS, turn, mark="ab"[name == "one"])
                took, cost = _handed_in(own, made, together=name == "one")
                if turn:  # the first turn warms up
                    seconds[name].append(took)
                    used[name].append(cost)
            print(f"  batching, {Path(model).name}: turn {turn} of {arguments.rounds}", file=sys.stderr)
    return summary_of_batching(seconds, used) | {"model": Path(model).name, "threads": arguments.threads}


def _handed_in(own: Measured, made: Sequence[Request], *, together: bool) -> tuple[float, Used]:
    """Seconds from the submission to the last end, and what the worker used."""
    before, working, begun = own.used(), own.seconds(), time.perf_counter()
    works = [[ranking(request) for request in made]] if together else [[ranking(request)] for request in made]
    with ThreadPoolExecutor(len(works)) as owners:
        jobs = list(owners.map(lambda n: own.queue.submit(works[n], owner=f"owner {n}")[0].id, range(len(works))))
    took = own.ends.wait(jobs) - begun
    working = own.seconds() - working
    return took, replace(own.used() - before, seconds=working)


def summary_of_batching(seconds: dict[str, list[float]], used: dict[str, list[Used]]) -> dict[str, Any]:
    """Ratios of many small jobs to one large, above 1 where the small ones take more, and what was computed."""

    def middle(name: str, of: Callable[[Used], float]) -> float:
        return statistics.median(of(one) for one in used[name])

    turns = Turns(seconds, {name: [one.seconds for one in own] for name, own in used.items()})
    return {
        "tokens_per_pair": round(middle("one", lambda u: u.tokens / u.pairs), 1),
        **turns.ratios("many", "one"),
        **{
            name: {
                "seconds": round(statistics.median(seconds[name]), 3),
                "processor_seconds": round(statistics.median(turns.processor[name]), 3),
                "pairs_per_batch": round(middle(name, lambda u: u.pairs / u.batches), 1),
                "batches": middle(name, lambda u: u.batches),
                "computed_pairs": middle(name, lambda u: u.pairs),
                "computed_tokens": middle(name, lambda u: u.tokens),
                "padding_tokens": middle(name, lambda u: u.padding),
            }
            for name in ("one", "many")
        },
    }


def tiny(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One job of one short document, from its submission to its result in hand, against the library."""
    from rerankd import Reranker

    reranker = Reranker(arguments.model, threads=arguments.threads)
    job, library = list[float](), list[float]()
    with measured(folder, arguments.model, arguments.threads) as own:
        for turn in range(arguments.tiny_jobs + 5):
            first, second = (requests(1, 1, DOCUMENT_CHARACTERS, seed)[0] for seed in (2 * turn, 2 * turn + 1))
            begun = time.perf_counter()
            reranker.rank(*first)
            middle = time.perf_counter()
            latency(own, second)
            if turn >= 5:  # those before warm up
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


def latency(own: Measured, request: Request) -> float:
    """Seconds from handing a job in to having its result."""
    begun = time.perf_counter()
    job, _ = own.queue.submit([ranking(request)])
    own.ends.wait([job.id])
    (row,) = rows_of(own.queue.store.results(job.id))
    if not row or len(row["results"]) != len(request[1]):
        raise RuntimeError("A job has no result.")
    return time.perf_counter() - begun


# -- bulk work


def throughput(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Bulk work by one worker against the library, for the bundled model and for one that hardly computes."""
    nano = str(make_nano(arguments.models))
    rows = [
        _throughput(folder / "mini", arguments.model, arguments.pairs, arguments),
        _throughput(folder / "nano", nano, arguments.nano_pairs, arguments),
    ]
    return {"bar": THROUGHPUT_BAR, "rows": rows, "held": all(row["held"] for row in rows)}


def _throughput(folder: Path, model: str, count: int, arguments: argparse.Namespace) -> dict[str, Any]:
    from rerankd import Reranker
    from rerankd.bulk.queue import QueueExecutor

    reranker = Reranker(model, threads=1)
    turns, others, tokens = Turns(), list[float](), 0
    with measured(folder, model, 1) as own:
        pid = own.worker.process.pid
        for turn in range(arguments.rounds + 1):
            rows = list(pairs(count if turn else 512, seed=turn))
            source = write(folder / "in.jsonl", iter(rows))
            given = [(row["query"], row["document"]) for row in rows]
            executor = QueueExecutor(own.queue)
            for name in ("library", "bulk") if turn % 2 else ("bulk", "library"):
                begun, here, there = time.perf_counter(), time.process_time(), processor_seconds(pid)
                kept = own.broker_seconds()
                if name == "library":
                    reranker.score(given)
                else:
                    tokens = _bulk(source, folder / "out.jsonl", executor)
                took, mine = time.perf_counter() - begun, time.process_time() - here
                if turn:  # the first turn warms up
                    turns.note(name, took, mine if name == "library" else processor_seconds(pid) - there)
                    if name == "bulk":
                        others.append(mine + own.broker_seconds() - kept)
            print(f"  throughput, {Path(model).name}: turn {turn} of {arguments.rounds}", file=sys.stderr)
    ratios = turns.ratios("library", "bulk")
    return {
        "model": f"{Path(model).name} ({reranker.backend})",
        "threads": 1,
        "pairs": count,
        "tokens_per_pair": round(tokens / count, 1),
        **{f"{name}_pairs_per_second": rate(count, own) for name, own in turns.seconds.items()},
        **ratios,
        "held": ratios["ratio"] >= THROUGHPUT_BAR,
        # Reading, writing and Redis go on beside the worker; the library has its pairs in memory.
        "processor_ms_per_pair": {
            "library": round(1000 * statistics.median(turns.processor["library"]) / count, 4),
            "worker": round(1000 * statistics.median(turns.processor["bulk"]) / count, 4),
            "command_and_redis": round(1000 * statistics.median(others) / count, 4),
        },
    }


def _bulk(source: Path, out: Path, executor: Any) -> int:
    from rerankd.bulk.run import BulkJob, run_bulk

    return run_bulk(BulkJob(source, out, restart=True), executor).tokens


def on_two_cores(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One worker on one core, either in turn, and two workers on a core each; reading and writing beside them."""
    from rerankd.bulk.queue import QueueExecutor

    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        return {"skipped": "this process may use one core only"}
    turns = Turns()
    with broker(folder) as redis, contextlib.ExitStack() as stack:
        # Three queues in one server: each core's own worker, and two workers together.
        plan = {"0": cores[:1], "1": cores[1:], "2": cores}
        urls = {database: redis.url[: -len("0")] + database for database in plan}
        workers = {
            database: [
                stack.enter_context(started(urls[database], arguments.model, threads=1, cores=[core])) for core in own
            ]
            for database, own in plan.items()
        }
        queues = {name: stack.enter_context(open_queue(load_settings(queue_url=url))) for name, url in urls.items()}
        for turn in range(arguments.rounds + 1):
            source = write(folder / "in.jsonl", pairs(arguments.pairs if turn else 256, seed=100 + turn))
            for name in ("one", "two") if turn % 2 else ("two", "one"):
                database = "2" if name == "two" else str(turn // 2 % 2)
                executor = QueueExecutor(queues[database])
                pids = [one.process.pid for one in workers[database]]
                begun, before = time.perf_counter(), sum(map(processor_seconds, pids))
                _bulk(source, folder / "out.jsonl", executor)
                if turn:
                    turns.note(name, time.perf_counter() - begun, sum(map(processor_seconds, pids)) - before)
            print(f"  two cores: turn {turn} of {arguments.rounds}", file=sys.stderr)
    ratios = turns.ratios("one", "two", 2.0)
    return {
        "model": arguments.model,
        "threads_per_worker": 1,
        "pairs": arguments.pairs,
        **{f"{name}_pairs_per_second": rate(arguments.pairs, own) for name, own in turns.seconds.items()},
        **ratios,
        "bar": CORES_BAR,
        "held": ratios["ratio"] >= CORES_BAR,
    }


# -- faults


class Memory(threading.Thread):
    """Samples the memory of workers as they come and go."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._lives: dict[int, list[float]] = {}
        self._ended = threading.Event()

    def watch(self, worker: Worker) -> Worker:
        """Sample this one too."""
        self._lives[worker.process.pid] = []
        return worker

    def run(self) -> None:
        """Twice a second."""
        while not self._ended.wait(SAMPLE_SECONDS):
            for pid, samples in list(self._lives.items()):
                with contextlib.suppress(psutil.Error):
                    if megabytes := resident_megabytes(pid):  # nothing after its end
                        samples.append(megabytes)

    def end(self) -> list[list[float]]:
        """Stop; megabytes of each life."""
        self._ended.set()
        self.join()
        return [samples for samples in self._lives.values() if samples]


def flatness(lives: Iterable[Sequence[float]]) -> dict[str, Any]:
    """Whether no worker's memory grew from the first half of its life, less what it loads in, to the second.

    Example:
        >>> flatness([[1.0, 100.0, 101.0, 102.0, 101.0]])["flat"]
        True
    """
    rows = []
    for life in lives:
        settled = life[len(life) // 5 :]
        middle = (len(settled) + 1) // 2
        first, second = max(settled[:middle]), max(settled[middle:], default=settled[-1])
        rows.append(
            {
                "seconds": round(len(life) * SAMPLE_SECONDS, 1),
                "first_half_megabytes": round(first, 1),
                "second_half_megabytes": round(second, 1),
                "flat": grew_not(first, second),
            }
        )
    peak = max(max(row["first_half_megabytes"], row["second_half_megabytes"]) for row in rows)
    return {"workers": rows, "flat": all(row["flat"] for row in rows), "peak_megabytes": peak}


def faults(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The same file in process, by two workers undisturbed, and by two workers that are killed, Redis too."""
    model = str(make_nano(arguments.models, "small", layers=4, hidden=128))
    source = write(folder / "in.jsonl", pairs(arguments.fault_pairs, seed=9))
    expected, calm, hit = (folder / f"{name}.jsonl" for name in ("expected", "calm", "hit"))
    in_process = _timed(_started_bulk(source, expected, "--model", reference(model)))
    print(f"  faults: in process {in_process:.0f} s", file=sys.stderr)
    undisturbed, calm_memory, _ = _by_workers(folder / "calm-redis", model, source, calm, expected, (), arguments)
    print(f"  faults: undisturbed {undisturbed:.0f} s", file=sys.stderr)
    disturbed, memory, events = _by_workers(folder / "hit-redis", model, source, hit, expected, FAULTS, arguments)
    found = compare(expected, hit, arguments.fault_pairs)
    return {
        "model": "random weights, 4 layers of 128, int8",
        "workers": 2,
        "threads_per_worker": 1,
        "lease_seconds": arguments.lease_seconds,
        "pairs": arguments.fault_pairs,
        "expected_from": "a run in process, without a queue",
        "undisturbed_identical": compare(expected, calm, arguments.fault_pairs)["identical"],
        "in_process_seconds": round(in_process, 1),
        "undisturbed_seconds": round(undisturbed, 1),
        "disturbed_seconds": round(disturbed, 1),
        "seconds_lost": round(disturbed - undisturbed, 1),
        "events": events,
        **found,
        "memory_undisturbed": calm_memory,
        "memory": memory,
        "held": found["identical"] and found["missing"] == 0 and found["twice"] == 0,
        # Workers of the disturbed run wait, idle, and work again: what they reach counts, not when.
        "memory_held": calm_memory["flat"] and grew_not(calm_memory["peak_megabytes"], memory["peak_megabytes"]),
    }


def compare(expected: Path, found: Path, count: int) -> dict[str, Any]:
    """Whether every pair is there once, with a score, and the bytes are the same."""
    rows = [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines()]
    ids = [row["id"] for row in rows if isinstance(row.get("raw_score"), float)]
    return {
        "scored": len(set(ids)),
        "missing": count - len(set(ids)),
        "twice": len(ids) - len(set(ids)),
        "identical": expected.read_bytes() == found.read_bytes(),
    }


def _started_bulk(source: Path, out: Path, *flags: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rerankd", "bulk", str(source), "--out", str(out), *flags]
    with out.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _timed(process: subprocess.Popen[bytes]) -> float:
    begun = time.perf_counter()
    try:
        code = process.wait(RUN_SECONDS)
    finally:
        process.kill()
    if code:
        raise RuntimeError(f"The bulk run ended with {code}.")
    return time.perf_counter() - begun


def _by_workers(
    folder: Path,
    model: str,
    source: Path,
    out: Path,
    expected: Path,
    plan: Sequence[tuple[float, str]],
    arguments: argparse.Namespace,
) -> tuple[float, dict[str, Any], list[dict[str, Any]]]:
    """Seconds of a run by two workers with these faults, their memory, and what happened when."""
    # A small cache: full within seconds, so that memory shows what leaks.
    flags = ("--lease-seconds", str(arguments.lease_seconds), "--cache-entries", "1000")
    folder.mkdir()
    with broker(folder) as redis, contextlib.ExitStack() as stack:
        memory = Memory()

        def start() -> Worker:
            return memory.watch(stack.enter_context(started(redis.url, model, *flags, threads=1)))

        workers = [start(), start()]
        memory.start()
        bulk = _started_bulk(source, out, "--workers", redis.url)
        begun = time.perf_counter()
        try:
            events = _disturb(plan, Scene(redis, workers, start, bulk, out, expected, begun))
            _timed(bulk)
        finally:
            bulk.kill()
            lives = memory.end()
        return time.perf_counter() - begun, flatness(lives), events


@dataclass
class Scene:
    """What faults happen to."""

    redis: Broker
    workers: list[Worker]
    start: Callable[[], Worker]
    bulk: subprocess.Popen[bytes]
    out: Path
    expected: Path
    begun: float

    def share(self) -> float:
        """How much of the output is there."""
        part = self.out.with_name(f"{self.out.name}.part")
        with contextlib.suppress(FileNotFoundError):
            return part.stat().st_size / self.expected.stat().st_size
        return 1.0 if self.out.exists() else 0.0


def _disturb(plan: Sequence[tuple[float, str]], scene: Scene) -> list[dict[str, Any]]:
    events = []
    for number, (share, what) in enumerate(plan):
        reached = share  # a loop's variable is not for a closure
        until(lambda: scene.share() >= reached or scene.bulk.poll() is not None, f"at {share:.0%}", RUN_SECONDS)  # noqa: B023
        if scene.bulk.poll() is not None:
            raise RuntimeError(f"The run was over before {share:.0%}.")
        moment = time.perf_counter()
        if what == "redis":
            scene.redis.stop(signal.SIGKILL)
            scene.redis.start()
        else:
            victim = number % 2
            scene.workers[victim].process.kill()
            scene.workers[victim].process.wait()
            scene.workers[victim] = scene.start()
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


# -- interactive jobs beside bulk work


def interactive(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Latency of small interactive jobs, one after the other: on an idle worker, and while bulk work saturates it."""
    milliseconds: dict[str, list[float]] = {"idle": [], "bulk": []}
    source = write(folder / "in.jsonl", pairs(1_000_000, seed=3))
    with measured(folder, arguments.model, arguments.threads) as own:
        for turn in range(2 * arguments.interactive_rounds):
            name = "bulk" if turn % 2 else "idle"
            with _saturated(own, source, folder) if name == "bulk" else contextlib.nullcontext():
                for number in range(arguments.interactive_jobs):
                    seed = 10_000 + 1000 * turn + number
                    (request,) = requests(1, INTERACTIVE_DOCUMENTS, DOCUMENT_CHARACTERS, seed)
                    milliseconds[name].append(latency(own, request) * 1000)
                    time.sleep(0.1)
            print(f"  interactive: {name} {spread(milliseconds[name], *LATENCY)}", file=sys.stderr)
    return {
        "model": arguments.model,
        "threads": arguments.threads,
        "documents": INTERACTIVE_DOCUMENTS,
        "characters": DOCUMENT_CHARACTERS,
        "jobs": len(milliseconds["idle"]),
        "concurrency": "one interactive job at a time, 0.1 s between them; one bulk run of pairs of about 45 tokens",
        "idle_ms": spread(milliseconds["idle"], *LATENCY),
        "bulk_ms": spread(milliseconds["bulk"], *LATENCY),
    }


@contextlib.contextmanager
def _saturated(own: Measured, source: Path, folder: Path) -> Iterator[None]:
    before = own.used().pairs
    bulk = _started_bulk(source, folder / "out.jsonl", "--workers", own.broker.url, "--restart")
    try:
        until(lambda: own.used().pairs > before + 600 or bulk.poll() is not None, "bulk begun")
        yield
        if bulk.poll() is not None:
            raise RuntimeError("The bulk run ended too early.")
    finally:
        bulk.terminate()
        bulk.wait(60)


MEASURES: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "batching": batching,
    "throughput": throughput,
    "cores": on_two_cores,
    "faults": faults,
    "interactive": interactive,
}


def bars(report: dict[str, Any]) -> dict[str, bool]:
    """What was to be reached, and whether it was.

    Example:
        >>> bars({"cores": {"held": True}, "faults": {"held": True, "memory_held": False}})
        {'cores': True, 'faults': True, 'memory': False}
    """
    found = {name: bool(report[name]["held"]) for name in MEASURES if "held" in report.get(name, {})}
    if "memory_held" in report.get("faults", {}):
        found["memory"] = bool(report["faults"]["memory_held"])
    return found


def main() -> None:
    """Run, write the result, and exit with 1 if a bar was missed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # everything is ended on the way out
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini", help="bundled model or folder")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of a worker, where it is not one")
    parser.add_argument("--rounds", type=int, default=7, help="turns of what is compared")
    parser.add_argument("--pairs", type=int, default=2048, help="of a bulk run of the bundled model")
    parser.add_argument("--nano-pairs", type=int, default=20_480, help="of a bulk run of the small random model")
    parser.add_argument("--tiny-jobs", type=int, default=100)
    parser.add_argument("--interactive-jobs", type=int, default=40, help="a turn")
    parser.add_argument("--interactive-rounds", type=int, default=3)
    parser.add_argument("--fault-pairs", type=int, default=200_000)
    parser.add_argument("--lease-seconds", type=float, default=30.0, help="of the fault run's workers")
    parser.add_argument("--models", type=Path, default=Path("build/bench"), help="where random models are kept")
    parser.add_argument("--only", nargs="+", choices=MEASURES, help="measure some things; keep the others")
    parser.add_argument("--out", type=Path, default=RESULTS / "jobs.json")
    arguments = parser.parse_args()
    kept = arguments.only and arguments.out.exists()
    report: dict[str, Any] = json.loads(arguments.out.read_text(encoding="utf-8")) if kept else {}
    for name in arguments.only or MEASURES:
        with tempfile.TemporaryDirectory(prefix="rerankd-jobs-") as folder:
            for kind in ("int8", "fp32", "tiny", "mini", "nano"):
                Path(folder, kind).mkdir()
            report[name] = {"machine": machine(arguments.threads), **MEASURES[name](Path(folder), arguments)}
        print(json.dumps({name: report[name]}, indent=1))
        report["bars"] = bars(report)
        text = json.dumps(report, indent=2, ensure_ascii=False)
        arguments.out.write_text(text + "\n", encoding="utf-8")
    missed = [name for name, held in report["bars"].items() if not held]
    for name in missed:
        print(f"Missed: {name}.", file=sys.stderr)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
