"""A Redis of our own that can be ended and started again, and real workers on it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import redis

from tests.integration.serving import free_port, until
from tests.processes import Process, start_program, without_settings

START_SECONDS = 60.0


@dataclass
class Broker:
    """A Redis server that writes everything to its folder before it answers."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL of the server."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it on the port and the data of before."""
        binary = shutil.which("redis-server")
        assert binary, "redis-server is not installed. Install it: apt-get install redis-server"
        self.process = subprocess.Popen(
            [
                *(binary, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            ],
            stdout=subprocess.DEVNULL,
        )
        until(self._answers, "redis up")

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), redis.Redis(port=self.port, socket_timeout=1) as client:
            return bool(client.ping())
        return False

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        if self.process:
            self.process.send_signal(sign)
            self.process.wait(30)
            self.process = None


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[Broker]:
    """Return a Redis that is ended with the block."""
    made = Broker(folder)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@dataclass
class Worker:
    """A running `rerankd worker`."""

    process: Process
    stderr: Path

    @property
    def log(self) -> str:
        """Output so far."""
        return self.stderr.read_text(errors="replace")

    def end(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit status."""
        self.process.send_signal(sign)
        return self.process.wait(60)


@contextlib.contextmanager
def worker(url: str, *flags: str, env: Mapping[str, str] | None = None) -> Iterator[Worker]:
    """Run `rerankd worker` until the block ends, and wait until it works."""
    with running_worker(url, *flags, env=env) as made:
        until(lambda: "working with" in made.log or made.process.poll() is not None, "worker up")
        assert made.process.poll() is None, made.log
        yield made


@contextlib.contextmanager
def running_worker(
    url: str, *flags: str, env: Mapping[str, str] | None = None, program: tuple[str, ...] = ("-m", "rerankd", "worker")
) -> Iterator[Worker]:
    """Run a worker program until the block ends."""
    inherited = without_settings()
    with tempfile.TemporaryDirectory(prefix="rerankd-worker-") as folder:
        stderr = Path(folder, "stderr")
        with stderr.open("wb") as sink:
            arguments = [*program, "--queue-url", url, *flags]
            process = start_program(arguments, Path(folder), {**inherited, **(env or {})}, sink)
        made = Worker(process, stderr)
        try:
            yield made
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    raise RuntimeError(f"The worker ran on after SIGTERM:\n{made.log}") from None
