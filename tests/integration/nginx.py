"""A real nginx in front of real instances, on loopback, in temporary folders: started, killed, restarted, ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from rerankd.cli.deploy import service_limits
from rerankd.server.nginx.config import render
from rerankd.server.nginx.options import NginxOptions, Rate
from rerankd.settings import load_settings
from tests.integration.serving import END_SECONDS, START_SECONDS, Served, free_port, wait_ready
from tests.processes import Process, start_program, without_settings

MISSING = "nginx is not installed. Install it: apt-get install nginx-light"


def nginx_binary() -> str | None:
    """Return the path of nginx, which Debian keeps outside the PATH of users."""
    return shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))


def certificate(folder: Path) -> tuple[Path, Path]:
    """Return a certificate for 127.0.0.1, signed by itself, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(
        [*made, "-keyout", str(key), "-out", str(cert), "-days", "2", *subject], check=True, capture_output=True
    )
    return cert, key


class Instance:
    """A rerankd that can be killed and started again on the same port.

    Args:
        folder: its own.
        env: its settings.
        core: the only one that it may use; None for all.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], core: int | None = None) -> None:
        self._env, self._folder = {**without_settings(), **env}, folder
        self._core = core
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self._process: Process | None = None
        folder.mkdir()

    @property
    def log(self) -> str:
        """Output so far."""
        return (self._folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it, and return when it is ready."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start it."""
        with (self._folder / "log").open("ab") as sink:
            arguments = ["-m", "rerankd", "serve", "--port", str(self.port)]
            self._process = start_program(arguments, self._folder, self._env, sink, self._core)

    def wait_ready(self) -> None:
        """Return when it is ready."""
        wait_ready(Served(self.url, self.process, self._folder / "log"))

    @property
    def process(self) -> Process:
        """Process started last."""
        if self._process is None:
            raise RuntimeError("The instance was not started.")
        return self._process

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """SIGTERM; returns its exit status when it has ended.

        Raises:
            RuntimeError: it did not end.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"The instance ran on after SIGTERM:\n{self.log}") from None

    def restart(self) -> None:
        """Restart like an operator: SIGTERM, wait for the end, start, wait until ready.

        Raises:
            RuntimeError: it did not end with 0.
        """
        if status := self.terminate():
            raise RuntimeError(f"The instance ended with {status}:\n{self.log}")
        self.start()


@dataclass(frozen=True)
class Proxy:
    """A running nginx.

    Attributes:
        url: where it listens, without a slash at the end.
        folder: of its configuration and logs.
    """

    url: str
    folder: Path

    @property
    def access_log(self) -> str:
        """Access log, with a line for each response."""
        return (self.folder / "access.log").read_text()

    @property
    def error_log(self) -> str:
        """Error log of nginx."""
        return (self.folder / "error.log").read_text()


@contextlib.contextmanager
def instances(count: int = 2, *, pinned: bool = False, **env: str) -> Iterator[list[Instance]]:
    """Ready instances with one thread each; pinned, each has a core of its own."""
    with tempfile.TemporaryDirectory(prefix="rerankd-instances-") as folder:
        made = [
            Instance(Path(folder, str(n)), {"RERANKD_THREADS": "1", **env}, n if pinned else None) for n in range(count)
        ]
        try:
            for one in made:
                one.launch()
            for one in made:
                one.wait_ready()
            yield made
        finally:
            for one in made:
                one.terminate()


@contextlib.contextmanager
def proxy(
    addresses: Sequence[str],
    *,
    rate: str | None = None,
    address_rate: str | None = None,
    burst: int | None = None,
    tls: tuple[Path, Path] | None = None,
    **settings: Any,
) -> Iterator[Proxy]:
    """Run nginx with the configuration that `rerankd deploy nginx` writes, until the block ends.

    Raises:
        RuntimeError: nginx is not installed, or does not start.
    """
    binary = nginx_binary()
    if binary is None:
        raise RuntimeError(MISSING)
    with tempfile.TemporaryDirectory(prefix="rerankd-nginx-") as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o755)  # where root starts it, its workers are somebody else
        options = NginxOptions(
            addresses,
            listen=f"127.0.0.1:{port}",
            rate=Rate.parse(rate) if rate else None,
            address_rate=Rate.parse(address_rate) if address_rate else None,
            burst=burst,
            tls_cert=str(tls[0]) if tls else None,
            tls_key=str(tls[1]) if tls else None,
            folder=name,
        )
        (folder / "nginx.conf").write_text(render(options, service_limits(load_settings(**settings))))
        command = [binary, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log"), "-g", "daemon off;"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        running = Proxy(f"{'https' if tls else 'http'}://127.0.0.1:{port}", folder)
        try:
            _wait_listening(running, process)
            yield running
        finally:
            process.terminate()
            process.wait(END_SECONDS)


def _wait_listening(running: Proxy, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(trust_env=False, verify=False, timeout=5) as client:  # noqa: S501  our own certificate
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                client.get(f"{running.url}/livez")
                return
            time.sleep(0.02)
    raise RuntimeError(f"nginx did not start:\n{running.error_log}")
