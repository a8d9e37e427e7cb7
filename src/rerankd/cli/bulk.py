"""`rerankd bulk`."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rerankd._common.instruction import IGNORED, check_instruction
from rerankd._common.plural import counted
from rerankd.cli import options
from rerankd.cli.bulk_progress import duration, show_progress, unscored
from rerankd.cli.output import EXIT_INCOMPLETE, say, stderr, write_rows
from rerankd.errors import InvalidRequestError
from rerankd.jobs.bulk.batches import CHUNK_PAIRS
from rerankd.jobs.bulk.executor import Executor
from rerankd.jobs.bulk.local import BACKOFF, LocalExecutor
from rerankd.jobs.bulk.output import OutputPaths
from rerankd.jobs.bulk.queue import QueueExecutor
from rerankd.jobs.bulk.run import BulkProgress, BulkRun, check_run, run_bulk
from rerankd.models.reference import short_name
from rerankd.settings import Settings, load_settings
from rerankd.types import TruncationOverrides
from rerankd.wiring.bulk import open_scorer
from rerankd.wiring.engine import default_instruction
from rerankd.wiring.jobs import open_queue


class OnError(StrEnum):
    """Handling of a row that cannot be scored."""

    stop = "stop"
    skip = "skip"


@options.setting_flags(*options.MODEL_FLAGS)
def bulk(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="Rows with query and documents, or query and document: jsonl[.gz] or parquet."
        ),
    ],
    out: Annotated[str, typer.Option(help="File for the scores: jsonl or parquet, by its name.")],
    kind: Annotated[
        str | None, typer.Option("--format", help="Format of INPUT: jsonl or parquet.  [default: from the file name]")
    ] = None,
    out_format: Annotated[
        str | None, typer.Option(help="Format of --out: jsonl or parquet.  [default: from the file name]")
    ] = None,
    top_n: Annotated[int | None, typer.Option(min=1, help="Documents to write per query.  [default: all]")] = None,
    keep_fields: Annotated[bool, typer.Option("--keep-fields", help="Copy the other fields of the input.")] = False,
    on_error: Annotated[
        OnError, typer.Option(help="Stop at an invalid row, or skip it: the row then gets an error instead of a score.")
    ] = OnError.stop,
    attempts: Annotated[
        int | None, typer.Option(min=1, help="Attempts for failing rows.  [default: setting job_attempts]")
    ] = None,
    chunk_pairs: Annotated[
        int, typer.Option(min=1, max=65536, help="Pairs scored together in one chunk.")
    ] = CHUNK_PAIRS,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard the progress of an earlier run and start over.")
    ] = False,
    workers: Annotated[
        str | None, typer.Option(metavar="URL", help="Redis of workers that score.  [default: this process scores]")
    ] = None,
    no_activation: options.NoActivation = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write a summary as JSON to standard output.")] = False,
    **flags: Any,
) -> None:
    """Score a file of any length. An interrupted run resumes when the same command is run again.

    Exit code 7: finished, but some rows have no score; OUT.failed.jsonl lists them with their errors.
    """
    settings = load_settings(job_attempts=attempts, **flags)
    if "-" in (source, out):
        raise InvalidRequestError(
            "Bulk scoring needs files: a run on standard input or output could not resume.",
            hint="Pass files, or use `rerankd score -`.",
        )
    run = BulkRun(
        Path(source), Path(out), kind, out_format, on_error.value, top_n, "none" if no_activation else "sigmoid",
        keep_fields, chunk_pairs, settings.max_documents, restart,
    )  # fmt: skip
    check_run(run)
    change = TruncationOverrides(
        flags["max_length"] and settings.max_length,
        truncation=settings.truncation if flags["truncation"] else None,
        long_documents=settings.long_documents if flags["long_documents"] else None,
        instruction=check_instruction(settings.instruction if flags["instruction"] else None),
    )
    initial: list[BulkProgress] = []
    console, started = stderr(), time.monotonic()
    try:
        opened = open_executor(settings, workers, change, flags["model"])
        with _interruptible(), opened as executor, show_progress(console) as show:

            def on_progress(progress: BulkProgress) -> None:
                if not initial:
                    initial.append(progress)
                    if progress.rows:
                        console.print(f"Resuming after {counted(progress.rows, 'row')}.", highlight=False)
                show(progress)

            total = run_bulk(run, executor, on_progress)
    except KeyboardInterrupt:
        console.print("Interrupted. Run the same command again to resume.", highlight=False)
        raise typer.Exit(130) from None
    seconds = time.monotonic() - started
    pairs = total.pairs - initial[0].pairs
    console.print(_summary(run, total, pairs, seconds), highlight=False, soft_wrap=True)
    if as_json:
        speed = {"seconds": round(seconds, 3), "pairs_per_second": round(pairs / max(seconds, 1e-9), 1)}
        write_rows([asdict(total) | speed])
    if total.unscored:
        raise typer.Exit(EXIT_INCOMPLETE)


@contextmanager
def open_executor(
    settings: Settings, workers: str | None, change: TruncationOverrides, model: str | None
) -> Iterator[Executor]:
    """Open what scores: this process, or the workers of a queue.

    Raises:
        MissingDependencyError: the extra `queue` is not installed.
        UnavailableError: the queue cannot be reached, or no worker answers.
        ModelError: the model cannot be loaded.
    """
    if workers is None:
        scorer = open_scorer(settings)
        asked = default_instruction(settings, settings.model, short_name(settings.model))
        if asked is not None and scorer.truncation.instruction is None:
            say(f"{scorer.identity['model']}: {IGNORED}.")
        yield LocalExecutor(scorer, backoff=replace(BACKOFF, attempts=settings.job_attempts))
        return
    with open_queue(load_settings(queue_url=workers)) as queue:
        executor = QueueExecutor(queue, model, change)
        for warning in executor.warnings:
            say(f"{executor.identity['model']}: {warning}.")
        yield executor


def _summary(run: BulkRun, total: BulkProgress, pairs: int, seconds: float) -> str:
    parts = [counted(total.rows, "row"), counted(total.pairs, "pair"), counted(total.tokens, "token")]
    if total.truncated:
        parts.append(f"{total.truncated:,} truncated")
    if pairs:
        parts.append(f"{duration(seconds)} ({pairs / seconds:,.0f} pairs/s)")
    if total.unscored:
        parts.append(f"{unscored(total.unscored)}, see {OutputPaths(run.out).failed}")
    return ", ".join(parts)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
