"""The command line in a process of its own that stays: a command costs what it does, and not a start of the program."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import rerankd

PACKAGE = Path(rerankd.__file__).parent
"""The code that is tested; commands and services run it too, whatever else is installed."""

LOOP = """
import base64, contextlib, functools, io, json, os, runpy, sys
import typer.main
typer.main.get_command = functools.cache(typer.main.get_command)  # building it takes longer than most commands
os.environ["PYTHONWARNINGS"] = "ignore"
lines, answers = sys.stdin.buffer, sys.stdout.buffer
settings = dict(os.environ)
for line in lines:
    command = json.loads(line)
    os.environ.clear()
    os.environ.update(settings | command["env"])
    sys.stdin = io.TextIOWrapper(io.BytesIO(base64.b64decode(command["stdin"])), "utf-8")
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    sys.argv = ["rerankd", *command["arguments"]]
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module("rerankd", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException as error:
            import traceback
            traceback.print_exc(file=err)
            code = -1
    for stream in (out, err):
        stream.flush()
    answer = {"code": code, "out": out.buffer.getvalue().decode(), "err": err.buffer.getvalue().decode()}
    answers.write(json.dumps(answer).encode() + b"\\n")
    answers.flush()
"""


class Program:
    """`python -m rerankd`, command after command, in one working folder.

    Args:
        folder: where commands run; state is kept below it.
        env: more variables; `RERANKD_*` of this process are not handed on.
    """

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._env = environment(folder) | dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", LOOP],
            cwd=self.folder,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(self, *arguments: str, stdin: str = "", **env: str) -> dict[str, Any]:
        """Return the exit code of a command and the JSON lines it wrote."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        command = {"arguments": arguments, "env": env, "stdin": base64.b64encode(stdin.encode()).decode()}
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "Traceback" in answer["err"]:
            raise RuntimeError(f"rerankd {' '.join(arguments)} failed:\n{answer['err']}")
        return {"code": answer["code"], "out": [parsed(line) for line in answer["out"].splitlines()]}


def environment(folder: Path) -> dict[str, str]:
    """Variables of programs that belong to a recording: no settings of the user, state below a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RERANKD_", "MLFLOW_"))}
    quiet = {"HF_HUB_OFFLINE": "1", "GIT_CEILING_DIRECTORIES": str(folder.parent), "NO_COLOR": "1", "COLUMNS": "200"}
    ours = {"PYTHONPATH": str(PACKAGE.parent), "XDG_STATE_HOME": str(folder / "state")}
    return kept | quiet | ours | {"RERANKD_THREADS": "2", "RERANKD_NATIVE": "off"}


def parsed(line: str) -> Any:
    """Return a line as JSON; that there is another, for people, is all that is kept of it."""
    try:
        return json.loads(line)
    except ValueError:
        return "<line>"
