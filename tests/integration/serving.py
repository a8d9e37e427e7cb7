"""A real server process for tests: started on a free port, waited for, ended, and looked after."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.processes import Process, start_program, without_settings

API_KEY = "secret"
START_SECONDS = 60.0
END_SECONDS = 20.0


@dataclass(frozen=True)
class Served:
    """A running server.

    Attributes:
        url: where it listens, without a slash at the end.
        process: the server's process, leader of its own group.
        stderr: what it writes to standard error and output.
    """

    url: str
    process: Process
    stderr: Path

    @property
    def log(self) -> str:
        """Output so far."""
        return self.stderr.read_text(errors="replace")


@contextlib.contextmanager
def serve(
    *flags: str, env: Mapping[str, str] | None = None, program: Sequence[str] = ("-m", "rerankd", "serve")
) -> Iterator[Served]:
    """Run `python *program --port N *flags` in an empty folder until the block ends.

    Args:
        flags: more arguments of the program.
        env: variables to set; `RERANKD_*` of this process are not handed on, but for `RERANKD_NATIVE`.
        program: arguments of the interpreter.

    Raises:
        RuntimeError: it did not become ready, did not end on SIGTERM, or left processes behind.
    """
    inherited = without_settings()
    with tempfile.TemporaryDirectory(prefix="rerankd-serve-") as folder:
        port = free_port()
        work, stderr = Path(folder, "work"), Path(folder, "stderr")
        work.mkdir()
        inherited["RERANKD_JOBS_PATH"] = str(Path(folder, "jobs.sqlite"))
        inherited["RERANKD_TRACES_URL"] = f"sqlite:///{folder}/traces.sqlite"
        with stderr.open("wb") as sink:
            arguments = [*program, "--port", str(port), *flags]
            process = start_program(arguments, work, {**inherited, **(env or {})}, sink)
        served = Served(f"http://127.0.0.1:{port}", process, stderr)
        try:
            wait_ready(served)
            yield served
        finally:
            _end(served)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_ready(served: Served, seconds: float = START_SECONDS) -> None:
    """Return when `GET /readyz` answers 200.

    Raises:
        RuntimeError: it exits, or is not ready in time; the message holds its log.
    """
    deadline = time.monotonic() + seconds
    with httpx.Client(trust_env=False, timeout=5) as client:
        while time.monotonic() < deadline:
            if served.process.poll() is not None:
                raise RuntimeError(f"The server exited with {served.process.returncode}:\n{served.log}")
            with contextlib.suppress(httpx.TransportError):
                if client.get(f"{served.url}/readyz").status_code == 200:
                    return
            time.sleep(0.05)
    raise RuntimeError(f"The server was not ready after {seconds:.0f} s:\n{served.log}")


def until(true: Callable[[], object], what: str = "as expected", seconds: float = START_SECONDS) -> None:
    """Return when something outside of this process is so.

    Raises:
        RuntimeError: it is not in time.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"Not {what} after {seconds:.0f} s.")
        time.sleep(0.01)


def metric(url: str, name: str, headers: Mapping[str, str] | None = None, **labels: str) -> float:
    """Return the sum of the series of `GET /metrics` whose names begin with `name`, with these labels."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    lines = httpx.get(f"{url}/metrics", headers=headers, trust_env=False).text.splitlines()
    series = [line for line in lines if line.startswith(name) and all(label in line for label in wanted)]
    return sum(float(line.rpartition(" ")[2]) for line in series)


def _end(served: Served) -> None:
    killed = False
    if served.process.poll() is None:
        served.process.send_signal(signal.SIGTERM)
        try:
            served.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            killed = True
            served.process.kill()
            served.process.wait()
    left = _group(served.process.pid)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if killed:
        raise RuntimeError(f"The server ran on for {END_SECONDS:.0f} s after SIGTERM:\n{served.log}")
    if left:
        raise RuntimeError(f"The server left processes behind: {left}\n{served.log}")


def _group(leader: int) -> list[psutil.Process]:
    """Return processes of the server's group that still run, after a moment to end in."""
    deadline = time.monotonic() + 2
    while True:
        left = [process for process in psutil.process_iter() if _runs_in(process, leader)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _runs_in(process: psutil.Process, leader: int) -> bool:
    try:
        return os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
