"""The systems that the server benchmark compares: our library, our server and Infinity's."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.bodies import FixedBodies
from benchmarks.contenders import Contender, Worker
from benchmarks.load import Attempt, ClosedLoop
from benchmarks.load_process import LoadProcess
from benchmarks.metrics import fetch_metrics
from benchmarks.peers import MAX_LENGTH
from benchmarks.usage import processor_seconds
from tests.integration.serving import free_port, serve

INFINITY = ("torch==2.13.0", "infinity-emb[server,torch,optimum]==0.0.78")
PEERS = Path("build/peers")
START_SECONDS = 300.0

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
    def start(cls, name: str, folder: Path | str, threads: int, precision: str | None = None) -> Library:
        """Load the model in a new process and wait until it is ready."""
        before = {process.pid for process in multiprocessing.active_children()}
        worker = Worker(Contender(name, "rerankd", Path(folder), precision=precision), threads)
        (own_pid,) = (p.pid for p in multiprocessing.active_children() if p.pid not in before)
        return cls(name, worker, own_pid or 0)

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
        (shots,) = self.load.run(ClosedLoop(FixedBodies(requests), clients, len(requests))).shots
        answered(shots, self.name)
        return max(shot.done for shot in shots) - min(shot.sent for shot in shots)


def answered(shots: Sequence[Attempt], name: str) -> None:
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


class IdleUsage:
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
