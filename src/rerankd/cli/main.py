"""The `rerankd` program: its commands, and the one place where an error becomes a message and an exit code.

Exit codes: 0 success; 1 unexpected error, or `doctor` found that the model cannot run; 2 invalid arguments or input;
3 a model cannot be found, is damaged or not supported; 4 an optional package is missing; 5 a compiled model failed
its verification; 6 the model gave no usable score; 7 `bulk` finished, but some rows have no score, or `index` finished,
but some files were skipped or only partly read; 8 a queue or service is unavailable, or `improve` waits for requests;
9 `eval --fail-below`, a gate or a guardrail refused; 130 interrupted.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Annotated

import typer
from rich.text import Text

from rerankd._common.characters import escape_controls
from rerankd._common.files import DISK_FULL
from rerankd._common.version import __version__
from rerankd.cli import (
    bench,
    bulk,
    calibrate,
    cases,
    console,
    demo,
    deploy,
    doctor,
    evaluate,
    feedback,
    gate,
    improve,
    index,
    jobs,
    keys,
    mcp,
    models,
    monitor,
    rag,
    rank,
    rollout,
    rules,
    serve,
    traces,
    train,
    tune,
    worker,
)
from rerankd.cli.output import is_utf8, stderr
from rerankd.errors import (
    ConflictError,
    InvalidRequestError,
    MissingDependencyError,
    ModelError,
    NotFoundError,
    PromotionRefusedError,
    RerankdError,
    RetryableError,
    ScoringError,
    VerificationError,
)

EXIT_CODES: tuple[tuple[type[RerankdError], int], ...] = (
    (VerificationError, 5),
    (ModelError, 3),
    (MissingDependencyError, 4),
    (ScoringError, 6),
    (InvalidRequestError, 2),
    (NotFoundError, 2),
    (ConflictError, 2),
    (RetryableError, 8),
    (PromotionRefusedError, 9),
)

EXIT_MEANINGS = {
    0: "Success.",
    1: "An unexpected error, or `doctor` found that the model cannot run.",
    2: "Invalid arguments or input; `index`: none of the files could be read.",
    3: "A model cannot be found, is damaged or is not supported.",
    4: "An optional package is missing.",
    5: "A compiled model failed its verification.",
    6: "The model gave no usable score.",
    7: "Finished, but not whole. `bulk`: some rows have no score; `index`: some files were skipped or only partly "
    "read, the others are in the index.",
    8: "A queue or service is unavailable, or `improve` waits for requests.",
    9: "`eval --fail-below`, a gate or a guardrail refused.",
    130: "Interrupted.",
}

app = typer.Typer(
    help="Rerank search results with cross-encoders: library, service and tools.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in help texts are literal
    epilog="Exit codes: 0 success, 1 unexpected error, 2 invalid input, 3 model, 4 missing package, 5 verification, "
    "6 scoring, 7 rows or files left out, 8 unavailable, 9 refused.",
)
app.command()(rank.rank)
app.command()(rank.score)
app.command()(demo.demo)
app.command()(doctor.doctor)
app.command()(bench.bench)
app.command()(bulk.bulk)
app.command("eval")(evaluate.evaluate_command)
app.command("calibrate")(calibrate.calibrate_command)
app.command("tune")(tune.tune_command)
app.command()(train.train)
app.command()(improve.improve)
app.command("gate")(gate.gate)
app.command("verify-gate")(gate.verify_gate)
app.command()(monitor.monitor)
app.command()(rag.search)
app.command()(rag.ask)
app.command()(serve.serve)
app.command()(console.console)
app.command()(mcp.mcp)
app.command()(worker.worker)
app.add_typer(index.app, name="index")
app.add_typer(serve.config_app, name="config")
app.add_typer(models.app, name="models")
app.add_typer(jobs.app, name="jobs")
app.add_typer(traces.app, name="traces")
app.add_typer(feedback.app, name="feedback")
app.add_typer(cases.app, name="cases")
app.add_typer(rules.app, name="rules")
app.add_typer(rollout.app, name="rollout")
app.add_typer(keys.app, name="keys")
app.add_typer(deploy.app, name="deploy")


def _version(shown: bool) -> None:
    if shown:
        typer.echo(f"rerankd {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log progress, and show tracebacks.")] = False,
) -> None:
    if verbose:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_LogFormatter(logging.BASIC_FORMAT))
        logging.basicConfig(level=logging.INFO, handlers=[handler])


class _LogFormatter(logging.Formatter):
    """Formats log records for a terminal, control characters of their texts shown as escape sequences."""

    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(super().format(record))


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of an unexpected error, whose message may quote any text."""
    sys.stderr.write(escape_controls("".join(traceback.format_exception(kind, error, trace))))


def exit_code(error: RerankdError) -> int:
    """Return the exit code for an error."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)


def main() -> None:
    """Run the program."""
    _handle_sigterm_as_first_process()
    prepare_streams()
    sys.excepthook = _print_traceback
    try:
        with _closed_pipe_is_no_error():
            app()
    except (RerankdError, OSError) as error:
        if "-v" in sys.argv or "--verbose" in sys.argv:
            raise
        if isinstance(error, OSError):
            error = _disk_full(error)
        stderr().print(Text.assemble(("Error:", "red"), f" {error}"), highlight=False, soft_wrap=True)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)


def prepare_streams() -> None:
    """Make the standard streams take any text.

    Those that the caller has closed (`>&-`), as a daemon's may be, are opened on nothing: the first file that is opened
    would else take their place, and get what is printed. In an encoding that lacks a character, its escape is written.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  for the whole run
        elif name == "stdout" and isinstance(stream, io.TextIOWrapper) and not is_utf8(stream):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _closed_pipe_is_no_error() -> Iterator[None]:
    """End with status 0 where the reader of the output closed the pipe, as `head` does once it has enough."""
    try:
        yield
    except (SystemExit, BrokenPipeError) as end:
        # The command line library turns the error into its own exit.
        if not isinstance(end, BrokenPipeError) and not isinstance(end.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        sys.exit(0)


def _disk_full(error: OSError) -> RerankdError:
    """Return the error for a full disk behind standard output or another file.

    Raises:
        OSError: it is another one, which nobody expected.
    """
    if error.errno not in DISK_FULL:
        raise error
    return InvalidRequestError(
        f"{error.filename or 'Standard output'} cannot be written ({error.strerror}).",
        hint="Free disk space, then try again.",
    )


def _handle_sigterm_as_first_process() -> None:
    """Handle SIGTERM as a container's first process, to which the kernel delivers no unhandled signals."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
