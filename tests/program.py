"""The program in this process: as a command of its own, without the second that it takes to start one."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

import typer.main

from rerankd.cli.main import main

_get_command = functools.cache(typer.main.get_command)  # building the command takes longer than most commands


def rerankd(
    *arguments: str, stdin: bytes = b"", folder: Path | None = None, env: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """Run a command that handles neither signals nor descriptors.

    Args:
        arguments: of the command line, without the program's name.
        stdin: bytes on standard input.
        folder: working folder; the present one if None.
        env: variables added to those of this process.

    Returns:
        Exit code and texts, as `subprocess.run` gives them. An unexpected exception is raised.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    code = 0
    with (
        patch.object(sys, "argv", ["rerankd", *arguments]),
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8")),
        patch.object(typer.main, "get_command", _get_command),
        patch.dict("os.environ", env or {}),
        contextlib.chdir(folder or "."),
        _logging_as_before(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return CompletedProcess(["rerankd", *arguments], code, _text(out), _text(err))


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


@contextlib.contextmanager
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
