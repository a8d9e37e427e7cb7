"""Programs that tests start, forked from a process that has imported them already.

A server takes two of its three seconds of start-up to import its parts, and tests start two hundred. What is forked is
a process of its own, leader of its own group, with its own environment, working folder and output; only the imports
are shared. Benchmarks, which measure memory, start programs the ordinary way.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import IO, Any, Protocol


def without_settings() -> dict[str, str]:
    """Return the environment of this process without settings; the native kernels stay as they are here, on or off."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RERANKD_") or name == KERNELS}


KERNELS = "RERANKD_NATIVE"
IMPORTED = [
    "rerankd.cli.main",
    "rerankd.server.run",
    "rerankd.server.app",
    "rerankd.traces.store",
    "rerankd.database.tables",
    "onnxruntime",
    "tokenizers",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "pydantic.v1",  # FastAPI imports it when it makes its routes
    "rerankd.server.observability.logs",
    "rerankd.cli.worker",
    "celery.app.amqp",
    "kombu.transport.redis",
    "redis.asyncio",
    "sqlalchemy.dialects.sqlite",
    "tests.processes",
]
INHERITED = ("RERANKD_", "XDG_", "MLFLOW_", "PYTHONPATH")


class Process(Protocol):
    """The part of `subprocess.Popen` that tests use of a program."""

    args: Any
    pid: int

    @property
    def returncode(self) -> Any:
        """Exit status; None while it runs."""

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit status; raises `subprocess.TimeoutExpired`."""

    def send_signal(self, sig: int) -> None:
        """Send a signal."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


class ForkedProgram:
    """A forked program with `Popen`'s methods."""

    def __init__(self, process: ForkServerProcess, args: Sequence[str]) -> None:
        self.args = list(args)
        self._process = process
        assert process.pid is not None
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start_program(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str], sink: IO[bytes], core: int | None = None
) -> Process:
    """Start `python *arguments` with no input and its output in a file, as leader of a process group.

    Args:
        arguments: arguments of the interpreter: `-m MODULE ...` or `-c CODE ...`.
        cwd: working folder.
        env: all environment variables.
        sink: file for standard output and error.
        core: the only one that it may use; None for all.
    """
    if _can_fork(arguments, env):
        process = _context().Process(target=_run, args=(list(arguments), str(cwd), dict(env), sink.name, core))
        process.start()
        return ForkedProgram(process, [sys.executable, *arguments])
    return subprocess.Popen(
        [*(["taskset", "--cpu-list", str(core)] if core is not None else []), sys.executable, *arguments],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=sink,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _can_fork(arguments: Sequence[str], env: Mapping[str, str]) -> bool:
    """Return whether a fork sees what a new interpreter would: variables that imports read are as they are here."""
    changed = {name for name in {*env, *os.environ} if env.get(name) != os.environ.get(name)}
    known = all(name.startswith(INHERITED) or name == "PYTEST_CURRENT_TEST" for name in changed)
    return "PYTEST_CURRENT_TEST" in os.environ and arguments[0] in ("-m", "-c") and known


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def _run(arguments: list[str], cwd: str, env: dict[str, str], sink: str, core: int | None) -> None:
    """Become the program; runs in the fork."""
    os.setsid()
    if core is not None:
        os.sched_setaffinity(0, {core})
    warnings.resetwarnings()
    with open(os.devnull, "rb") as nothing, open(sink, "ab") as output:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[:0] = [cwd, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    kind, program, *rest = arguments
    sys.argv = [kind if kind == "-c" else program, *rest]
    try:
        if kind == "-c":
            main: dict[str, Any] = {"__name__": "__main__"}
            exec(compile(program, "<string>", "exec"), main)  # noqa: S102  the caller's own code
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
