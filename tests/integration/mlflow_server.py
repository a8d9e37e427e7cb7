"""A tracking server of MLflow for tests: the whole of MLflow, in an environment of its own beside ours."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.integration.serving import free_port

START_SECONDS = 90.0
MISSING = "MLflow's server is not installed. Install it: make test"


def mlflow_python() -> Path:
    """Return the interpreter that has MLflow's server, or a skip that says so."""
    path = Path(sys.prefix, "mlflow", "bin", "python")
    if path.exists():
        return path
    if os.environ.get("CI"):
        pytest.fail(MISSING)
    pytest.skip(MISSING)


@dataclass
class TrackingServer:
    """A server that can be stopped and started again where it was.

    Attributes:
        url: its address.
        folder: what it keeps.
    """

    url: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        port = self.url.rpartition(":")[2]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(str(mlflow_python()), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port),
                    *("--backend-store-uri", f"sqlite:///{self.folder}/mlflow.sqlite", "--workers", "1"),
                    *("--artifacts-destination", str(self.folder / "artifacts")),
                ],
                cwd=self.folder,
                env={
                    **os.environ,
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    "DO_NOT_TRACK": "true",
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text(errors="replace"))

    def stop(self) -> None:
        """Kill it."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def tracking_server(folder: Path) -> Iterator[TrackingServer]:
    """Return a server with nothing in it, until the block ends."""
    server = TrackingServer(f"http://127.0.0.1:{free_port()}", folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
