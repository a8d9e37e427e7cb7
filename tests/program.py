"""The program in this process: as a command of its own, without the second that it takes to start one."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping
from subprocess import CompletedProcess
from unittest.mock import patch

from rerankd.cli.main import main


def rerankd(*arguments: str, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Run a command; one that handles no signals and no descriptors."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        patch.object(sys, "argv", ["rerankd", *arguments]),
        patch.dict("os.environ", env or {}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return CompletedProcess(["rerankd", *arguments], code, out.getvalue(), err.getvalue())
