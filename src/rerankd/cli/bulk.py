"""`rerankd bulk`."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rerankd.cli import options
from rerankd.cli.bulk_progress import shown, unscored
from rerankd.cli.output import stderr, write_rows
from rerankd.errors import InvalidRequestError
from rerankd.jobs.bulk.batches import CHUNK_PAIRS
from rerankd.jobs.bulk.eta import duration
from rerankd.jobs.bulk.executor import Executor
from rerankd.jobs.bulk.local import LocalExecutor
from rerankd.jobs.bulk.output import OutputPaths
from rerankd.jobs.bulk.queue import QueueExecutor
from rerankd.jobs.bulk.run import BulkProgress, BulkRun, check_job, run_bulk
from rerankd.settings import Settings, load_settings
from rerankd.types import TruncationOverrides
from rerankd.wiring.bulk import open_scorer
from rerankd.wiring.jobs import open_queue

EXIT_UNSCORED = 7


class OnError(StrEnum):
    """What becomes of a row that cannot be scored."""

    stop = "stop"
    skip = "skip"


def bulk(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="Rows of query and documents, or query and document: jsonl[.gz], parquet."
        ),
    ],
    out: Annotated[str, typer.Option(help="Where scores go: jsonl or parquet, by the ending.")],
    kind: Annotated[str | None, typer.Option("--format", help="jsonl or parquet; default: by the ending.")] = None,
    out_format: Annotated[str | None, typer.Option(help="The same of --out.")] = None,
    top_n: Annotated[int | None, typer.Option(min=1, help="Documents of a query to keep.  [default: all]")] = None,
    keep_fields: Annotated[bool, typer.Option("--keep-fields", help="Carry the fields of the input along.")] = False,
    on_error: Annotated[
        OnError, typer.Option(help="A bad row ends the run, or gets an error in place of a score.")
    ] = OnError.stop,
    attempts: Annotated[
        int | None, typer.Option(min=1, help="Times that failing rows are tried.  [default: job_attempts]")
    ] = None,
    chunk_pairs: Annotated[int, typer.Option(min=1, max=65536, help="Pairs that are scored together.")] = CHUNK_PAIRS,
    restart: Annotated[bool, typer.Option("--restart", help="Drop what an earlier run left, and start over.")] = False,
    workers: Annotated[
        str | None, typer.Option(metavar="URL", help="Redis of the workers that score; default: this process.")
    ] = None,
    model: options.Model = None,
    precision: options.Precision = None,
    device: options.Device = None,
    backend: options.Backend = None,
    batch_tokens: options.BatchTokens = None,
    max_length: options.MaxLength = None,
    truncation: options.Truncation = None,
    long_documents: options.LongDocuments = None,
    threads: options.Threads = None,
    no_activation: options.NoActivation = False,
    as_json: Annotated[bool, typer.Option("--json", help="Say what was done as JSON, on standard output.")] = False,
) -> None:
    """Score a file of any length. Ended at any moment, the same command goes on where it was.

    Exit code 7: done, but some rows have no score; OUT.failed.jsonl says which and why.
    """
    settings = load_settings(
        model=model,
        precision=precision,
        device=device,
        backend=backend,
        max_batch_tokens=batch_tokens,
        max_length=max_length,
        truncation=truncation,
        long_documents=long_documents,
        threads=threads,
        job_attempts=attempts,
    )
    if "-" in (source, out):
        raise InvalidRequestError(
            "A bulk run does not read standard input or write standard output: it could not be resumed.",
            hint="Pass files, or use `rerankd score -`.",
        )
    job = BulkRun(
        Path(source), Path(out), kind, out_format, on_error.value, top_n, "none" if no_activation else "sigmoid",
        keep_fields, chunk_pairs, settings.max_documents, restart,
    )  # fmt: skip
    check_job(job)
    change = TruncationOverrides(
        max_length,
        truncation=settings.truncation if truncation else None,
        long_documents=settings.long_documents if long_documents else None,
    )
    began: list[BulkProgress] = []
    console, started = stderr(), time.monotonic()
    try:
        with _interruptible(), open_executor(settings, workers, change, model) as executor, shown(console) as watch:

            def tell(moment: BulkProgress) -> None:
                if not began:
                    began.append(moment)
                    if moment.rows:
                        console.print(f"Going on after {moment.rows:,} rows.", highlight=False)
                watch(moment)

            done = run_bulk(job, executor, tell)
    except KeyboardInterrupt:
        console.print("Interrupted. Run the same command again to go on.", highlight=False)
        raise typer.Exit(130) from None
    seconds = time.monotonic() - started
    pairs = done.pairs - began[0].pairs
    console.print(_summary(job, done, pairs, seconds), highlight=False, soft_wrap=True)
    if as_json:
        speed = {"seconds": round(seconds, 3), "pairs_per_second": round(pairs / max(seconds, 1e-9), 1)}
        write_rows([asdict(done) | speed])
    if done.unscored:
        raise typer.Exit(EXIT_UNSCORED)


@contextmanager
def open_executor(
    settings: Settings, workers: str | None, change: TruncationOverrides, model: str | None
) -> Iterator[Executor]:
    """Who scores: this process, or the workers of a queue.

    Raises:
        MissingDependencyError: the extra `queue` is not installed.
        UnavailableError: the queue cannot be reached, or no worker answers.
        ModelError: the model cannot be loaded.
    """
    if workers is None:
        yield LocalExecutor(open_scorer(settings), attempts=settings.job_attempts)
        return
    with open_queue(load_settings(queue_url=workers)) as queue:
        yield QueueExecutor(queue, model, change)


def _summary(job: BulkRun, done: BulkProgress, pairs: int, seconds: float) -> str:
    parts = [f"{done.rows:,} rows, {done.pairs:,} pairs, {done.tokens:,} tokens"]
    if done.truncated:
        parts.append(f"{done.truncated:,} truncated")
    if pairs:
        parts.append(f"{duration(seconds)} ({pairs / seconds:,.0f} pairs/s)")
    if done.unscored:
        parts.append(f"{unscored(done.unscored)}, see {OutputPaths(job.out).failed}")
    return ", ".join(parts)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
