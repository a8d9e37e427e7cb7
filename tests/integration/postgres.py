"""A PostgreSQL of our own, on a free port, run by a user that is not root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.serving import free_port, until

MISSING = "PostgreSQL is not installed. Install it: apt-get install postgresql"
HOMES = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")


def postgres_folder() -> Path | None:
    """Return the folder with the programs of the newest PostgreSQL."""
    folders = [path for home in HOMES for path in Path("/").glob(f"{home[1:]}/initdb")]
    named = shutil.which("initdb")
    return max(folders, key=lambda path: path.parts).parent if folders else Path(named).parent if named else None


@dataclass
class Postgres:
    """A server with one database, whose files are in a folder."""

    programs: Path
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL of the server."""
        return f"postgresql://tester@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        """Make its folder."""
        if os.getuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        options = ("--username", "tester", "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync")
        self._run("initdb", "--pgdata", str(self.folder / "data"), *options)

    def start(self) -> None:
        """Start it on the data of before."""
        # Processes are killed here, the power is not: fsync tells nothing.
        settings = ("fsync=off", "listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=40")
        flags = [part for setting in (f"port={self.port}", *settings) for part in ("-c", setting)]
        command = [*self._user(), str(self.programs / "postgres"), "-D", str(self.folder / "data"), *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._answers, "PostgreSQL up")

    def stop(self, sign: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends its connections, SIGQUIT is as if it had crashed."""
        if self.process:
            self.process.send_signal(sign)
            self.process.wait(60)
            self.process = None

    def fresh(self, name: str) -> str:
        """Return the address of a new empty database."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url.replace("/postgres", f"/{name}")

    def _answers(self) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=1):
            return True
        return False

    def _user(self) -> list[str]:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._user(), str(self.programs / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/")


@contextlib.contextmanager
def running_postgres(folder: Path) -> Iterator[Postgres]:
    """Return a server that ends with the block.

    Raises:
        pytest.skip.Exception: it is not installed; in CI that is a failure.
    """
    programs = postgres_folder()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    made = Postgres(programs, folder)
    made.make()
    made.start()
    try:
        yield made
    finally:
        made.stop(signal.SIGQUIT)  # nothing is kept
