"""The server part of `make bench`: HTTP against the library in process and against Infinity, fairness, overhead.

All contenders are up at the same time and busy in turn, and a ratio is the median of the ratios of the rounds, so that
they share the machine's noise. The processor time of the idle ones is recorded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks import model, workload
from benchmarks.bodies import Drawn, Listed
from benchmarks.contenders import MAX_LENGTH, Contender, Worker
from benchmarks.load import Closed, LoadProcess, Report, Shot
from benchmarks.metrics import fetch_metrics
from benchmarks.timings import median_ratio, percentile
from benchmarks.usage import processor_seconds
from tests.integration.serving import free_port, serve

INFINITY = ("torch==2.13.0", "infinity-emb[server,torch,optimum]==0.0.78")
PEERS = Path("build/peers")
START_SECONDS = 300.0
LARGE_DOCUMENTS, LARGE_CLIENTS, LARGE_CHARACTERS = 500, 4, 120
SMALL_DOCUMENTS, SMALL_PAUSE = 2, 0.1
BLOCK = 100

Request = tuple[str, list[str]]


class System(Protocol):
    """A system that scores requests."""

    name: str
    pid: int

    def score(self, requests: Sequence[Request], clients: int) -> float:
        """Score all requests and return the seconds."""


@dataclass
class Library:
    """The rerankd library in a process of its own, one request at a time."""

    name: str
    worker: Worker
    pid: int

    @classmethod
    def start(cls, name: str, folder: Path | str, threads: int) -> Library:
        """Load the model in a new process and wait until it is ready."""
        before = {process.pid for process in multiprocessing.active_children()}
        worker = Worker(Contender(name, "rerankd", Path(folder)), threads)
        (own,) = (p.pid for p in multiprocessing.active_children() if p.pid not in before)
        return cls(name, worker, own or 0)

    def score(self, requests: Sequence[Request], clients: int) -> float:
        """Score all requests, from one client whatever `clients` says, and return the seconds."""
        return sum(self.worker.ask(query, documents).seconds for query, documents in requests)


@dataclass
class Endpoint:
    """Rerank endpoint of a server with its load generator."""

    name: str
    load: LoadProcess
    pid: int
    url: str = ""

    def computed_pairs(self) -> float:
        """Return the pairs that a rerankd server has computed so far by its own count, unfinished requests included."""
        return fetch_metrics(self.url).get("rerankd_computed_pairs_total", 0.0)

    def score(self, requests: Sequence[Request], clients: int) -> float:
        """Send all requests and return the seconds from the first request to the last response.

        Raises:
            RuntimeError: an answer is not 200.
        """
        (shots,) = self.load.run(Closed(Listed(requests), clients, len(requests))).shots
        answered(shots, self.name)
        return max(shot.done for shot in shots) - min(shot.sent for shot in shots)


def answered(shots: Sequence[Shot], name: str) -> None:
    """Check that all requests were answered with 200.

    Raises:
        RuntimeError: one was not.
    """
    bad = [shot.status for shot in shots if shot.status != 200]
    if bad or not shots:
        raise RuntimeError(f"{name} answered {bad[0] if bad else 'nothing'} where 200 was due.")


@contextlib.contextmanager
def endpoint(name: str, reference: Path | str, threads: int, **settings: object) -> Iterator[Endpoint]:
    """Start a rerankd server without cache and without load shedding, and its load generator."""
    values = {"threads": threads, "cache": "false", "max_queue_seconds": 3600, "max_length": MAX_LENGTH} | settings
    values["model"] = Path(reference).resolve() if Path(reference).is_dir() else reference
    values["truncation"] = "longest_first"
    env = {f"RERANKD_{key.upper()}": str(value) for key, value in values.items()}
    with serve(env=env) as served, LoadProcess(f"{served.url}/v1/rerank") as load:
        yield Endpoint(name, load, served.process.pid, served.url)


def find_infinity(values: str | None) -> Path | None:
    """Return the `infinity_emb` program: from the flag, the environment or `build/peers`; None if there is none."""
    named = values or os.environ.get("RERANKD_BENCH_INFINITY")
    if named:
        path = Path(named)
        return path.with_name("infinity_emb") if path.name.startswith("python") else path
    program = PEERS / "infinity" / "bin" / "infinity_emb"
    try:
        if not program.exists():
            print(f"  installing {INFINITY[1]} into {PEERS / 'infinity'}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", PEERS / "infinity"], check=True)
            for package in INFINITY:
                pip = [str(PEERS / "infinity" / "bin" / "pip"), "install", "--quiet", package]
                subprocess.run(pip, check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"  Infinity is left out: {error}", file=sys.stderr)
        return None
    return program


@contextlib.contextmanager
def infinity(program: Path, checkpoint: Path) -> Iterator[Endpoint]:
    """Start an Infinity server on the same weights, with our truncation.

    Raises:
        RuntimeError: it does not come up; the message holds its log.
    """
    with tempfile.TemporaryDirectory(prefix="rerankd-infinity-") as folder:
        cut, port, log = _cut_to(checkpoint, Path(folder, "mini")), free_port(), Path(folder, "log")
        flags = ["--model-id", str(cut), "--served-model-name", "mini", "--engine", "torch", "--device", "cpu"]
        flags += ["--host", "127.0.0.1", "--port", str(port), "--no-bettertransformer", "--no-compile"]
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [str(program.absolute()), "v2", *flags], env=env, stdout=sink, stderr=sink, start_new_session=True
            )
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            with LoadProcess(f"http://127.0.0.1:{port}/rerank") as load:
                yield Endpoint("Infinity", load, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _cut_to(checkpoint: Path, out: Path) -> Path:
    """Write the checkpoint with a tokenizer that truncates at `MAX_LENGTH`, since Infinity has no flag for it."""
    out.mkdir()
    for path in checkpoint.iterdir():
        (out / path.name).symlink_to(path.resolve())
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text(encoding="utf-8"))
    (out / "tokenizer_config.json").unlink()
    (out / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": MAX_LENGTH}))
    return out


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), opener.open(url, timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"{process.args!r} did not come up:\n{log.read_text(errors='replace')[-2000:]}")


def _requests(count: int, documents: int, seed: int) -> list[Request]:
    made, _ = workload.requests(count, documents, seed)
    return [(f"{query} ({seed}-{position})", texts) for position, (query, texts) in enumerate(made)]


class Idlers:
    """Processor time of idle systems."""

    def __init__(self, systems: Iterable[System]) -> None:
        self._pids = {system.name: system.pid for system in systems}
        self._idle = dict.fromkeys(self._pids, (0.0, 0.0))

    @property
    def shares(self) -> dict[str, float]:
        """Processor time of each system, as a share of one core over all of its idle time."""
        return {name: round(used / wall, 3) for name, (used, wall) in self._idle.items() if wall}

    @contextlib.contextmanager
    def watch(self, busy: str) -> Iterator[None]:
        """Measure all other systems during the block."""
        before, started = self._used(), time.perf_counter()
        yield
        wall = time.perf_counter() - started
        for name, used in self._used().items():
            if name != busy:
                self._idle[name] = (self._idle[name][0] + used - before[name], self._idle[name][1] + wall)

    def _used(self) -> dict[str, float]:
        return {name: processor_seconds(pid) for name, pid in self._pids.items()}


def throughput(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare HTTP with the library and with Infinity at several numbers of clients, on the 6-layer shape."""
    folder, threads = arguments.models, arguments.threads
    checkpoint = model.make_checkpoint("mini", folder)
    program = find_infinity(arguments.infinity)
    with contextlib.ExitStack() as stack:
        systems: list[System] = []
        for precision in ("fp32", "int8"):
            compiled = model.make_compiled("mini", precision, folder)
            systems.append(Library.start(f"library {precision}", compiled, threads))
            systems.append(stack.enter_context(endpoint(f"http {precision}", compiled, threads)))
        if program is not None:
            systems.append(stack.enter_context(infinity(program, checkpoint)))
        idlers = Idlers(systems)
        for system in systems:
            system.score(_requests(2, arguments.documents, 1), 1)
        rows = [
            row
            for clients in arguments.server_clients
            for row in _rows(_turns(systems, clients, arguments, idlers), clients, arguments)
        ]
        for system in systems:
            if isinstance(system, Library):
                system.worker.close()
    return {
        "shape": "mini",
        "documents": arguments.documents,
        "rounds": arguments.server_rounds,
        "rows": rows,
        "idle_processor_share": idlers.shares,
    }


def _count(clients: int) -> int:
    """Return the requests of a round: two for each client, with a lower and an upper limit."""
    return max(clients, min(2 * clients, 16), 4)


def _turns(
    systems: Sequence[System], clients: int, arguments: argparse.Namespace, idlers: Idlers
) -> dict[str, list[float]]:
    """Return the seconds of every system in every round; the order is reversed after each round."""
    seconds: dict[str, list[float]] = {system.name: [] for system in systems}
    for turn in range(arguments.server_rounds):
        requests = _requests(_count(clients), arguments.documents, 1000 * clients + turn)
        for system in systems if turn % 2 else reversed(systems):
            with idlers.watch(system.name):
                seconds[system.name].append(system.score(requests, clients))
        print(f"  server: {clients} clients, round {turn + 1} of {arguments.server_rounds}", file=sys.stderr)
    return seconds


def _rows(seconds: dict[str, list[float]], clients: int, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    pairs = _count(clients) * arguments.documents
    for name, own in seconds.items():
        row: dict[str, Any] = {
            "clients": clients,
            "contender": name,
            "requests": _count(clients),
            "pairs_per_second": round(pairs / statistics.median(own), 2),
        }
        if name.startswith("http"):
            row["to_library"] = round(median_ratio(seconds[name.replace("http", "library")], own), 3)
        if name.startswith("http") and "Infinity" in seconds:
            row["to_infinity"] = round(median_ratio(seconds["Infinity"], own), 2)
        yield row


def fairness(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the latency of small requests beside large ones, with and without fair scheduling, and alone."""
    compiled = model.make_compiled("mini", "int8", arguments.models)
    texts = [text[:LARGE_CHARACTERS] for _, documents in workload.requests(20, 50)[0] for text in documents]
    latencies: dict[str, list[list[Shot]]] = {"alone": [], "fair": [], "first come": []}
    computed_rates: dict[str, list[float]] = {"fair": [], "first come": []}
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(endpoint(name, compiled, arguments.threads, fairness=flag))
            for name, flag in (("fair", "true"), ("first come", "false"))
        }
        for turn in range(arguments.server_rounds):
            small = Drawn.of("small", texts, SMALL_DOCUMENTS, SMALL_DOCUMENTS, 2 * turn)
            many = Drawn.of("large", texts, LARGE_DOCUMENTS, LARGE_DOCUMENTS, 2 * turn + 1)
            seconds = arguments.server_seconds
            alone = servers["fair"].load.run(Closed(small, 1, seconds=min(seconds, 5.0), pause=SMALL_PAUSE))
            latencies["alone"].append(alone.shots[0])
            for name in ("fair", "first come") if turn % 2 else ("first come", "fair"):
                before, began = servers[name].computed_pairs(), time.perf_counter()
                both = servers[name].load.run(
                    Closed(many, LARGE_CLIENTS, background=True),
                    Closed(small, 1, seconds=seconds, start=2.0, pause=SMALL_PAUSE, first=1_000_000),
                )
                answered(both.shots[1], name)
                latencies[name].append(both.shots[1])
                computed = servers[name].computed_pairs() - before
                computed_rates[name].append(computed / (time.perf_counter() - began))
                time.sleep(1.0)  # the server notices that nobody waits for the rest
            print(f"  fairness: round {turn + 1} of {arguments.server_rounds}", file=sys.stderr)
    return {
        "shape": "mini",
        "precision": "int8",
        "clients": LARGE_CLIENTS,
        "documents": LARGE_DOCUMENTS,
        "characters": LARGE_CHARACTERS,
        "small_documents": SMALL_DOCUMENTS,
        "pause_ms": SMALL_PAUSE * 1000,
        "rows": [
            _latencies(name, [shot for turn in turns for shot in turn])
            | (
                {"computed_pairs_per_second": round(statistics.median(computed_rates[name]), 1)}
                if name in computed_rates
                else {}
            )
            for name, turns in latencies.items()
        ],
    }


def _latencies(name: str, shots: Sequence[Shot]) -> dict[str, Any]:
    milliseconds = [shot.latency * 1000 for shot in shots]
    return {
        "order": name,
        "requests": len(shots),
        "p50_ms": round(percentile(milliseconds, 0.5), 1),
        "p95_ms": round(percentile(milliseconds, 0.95), 1),
    }


def overhead(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the HTTP overhead of sequential requests of one short document with the bundled model, and requests/s.

    Library and server alternate every few requests, so that they share the machine's noise.
    """
    ours: list[float] = []
    through: list[float] = []
    rates: list[float] = []
    library = Library.start("library", "mini", arguments.threads)
    with endpoint("http", "mini", arguments.threads) as served:
        for turn in range(arguments.server_rounds * 3 + 1):
            requests = [(f"what does a panda eat? {turn}-{n}", ["Pandas eat bamboo."]) for n in range(BLOCK)]
            inside = [library.worker.ask(*request).seconds * 1000 for request in requests]
            (outside,) = served.load.run(Closed(Listed(requests), 1, BLOCK)).shots
            answered(outside, "rerankd")
            if not turn:
                continue  # the first block warms up
            ours += inside
            through += [shot.latency * 1000 for shot in outside]
            rates.append(_rate(served.load.run(Closed(_short(turn), 8, 4 * BLOCK))))
    library.worker.close()
    return {
        "model": "mini",
        "documents": 1,
        "requests": len(ours),
        "library_p50_ms": round(percentile(ours, 0.5), 2),
        "http_p50_ms": round(percentile(through, 0.5), 2),
        "overhead_ms": round(percentile(through, 0.5) - percentile(ours, 0.5), 2),
        "http_p95_ms": round(percentile(through, 0.95), 2),
        "clients": 8,
        "requests_per_second": round(statistics.median(rates), 1),
    }


def _short(turn: int) -> Drawn:
    return Drawn.of("what does a panda eat?", ["Pandas eat bamboo."], 1, 1, turn)


def _rate(report: Report) -> float:
    (shots,) = report.shots
    answered(shots, "rerankd")
    return len(shots) / max(shot.done for shot in shots)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run all of the server part."""
    return {
        "throughput": throughput(arguments),
        "fairness": fairness(arguments),
        "overhead": overhead(arguments),
    }


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the server part."""
    parser.add_argument("--no-server", action="store_true", help="skip the server part")
    parser.add_argument(
        "--only-server", action="store_true", help="measure only the server part and keep the other results"
    )
    parser.add_argument(
        "--infinity", help="infinity_emb, or the Python beside it; else RERANKD_BENCH_INFINITY, else it is installed"
    )
    parser.add_argument("--server-clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--server-rounds", type=int, default=3, help="rounds of each comparison")
    parser.add_argument("--server-seconds", type=float, default=30.0, help="seconds of one round of the fairness part")
