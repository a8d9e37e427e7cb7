"""A bulk run, spelled out from top to bottom: lock, read, cut, score, write, name."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rerankd._common.optional import require
from rerankd.errors import InvalidInputFileError, InvalidRequestError, RerankdError, ScoringError
from rerankd.jobs.bulk import files
from rerankd.jobs.bulk.batches import CHUNK_PAIRS, Batch, ReadRow, batches
from rerankd.jobs.bulk.checkpoint import RunFingerprint, input_fingerprint
from rerankd.jobs.bulk.chunk import Chunk, RowError
from rerankd.jobs.bulk.executor import Executor
from rerankd.jobs.bulk.formats import detect_kind, format_of, open_reader
from rerankd.jobs.bulk.formatting import answer
from rerankd.jobs.bulk.output import OutputPaths, RunOutput
from rerankd.jobs.bulk.reader import Offset, RawRow, Reader
from rerankd.jobs.bulk.rows import InputRow, InvalidRow, RowKind, parse_row, row_id
from rerankd.ranking.activation import check_activation
from rerankd.types import Activation

MAX_FAILED_CHUNKS = 3


@dataclass(frozen=True, slots=True)
class BulkRun:
    """Input, output and options of a bulk run.

    Attributes:
        source: jsonl (also gzipped) or Parquet.
        out: jsonl or Parquet.
        source_format: `jsonl` or `parquet`; None to tell by the ending.
        out_format: the same of `out`.
        on_error: a row that cannot be scored ends the run (`stop`), or gets an error in place of a score (`skip`).
        top_n: documents of a query that are kept; None for all.
        activation: `sigmoid` or `none`.
        keep_fields: carry the fields of the input along.
        chunk_pairs: pairs that are scored together.
        max_documents: documents of one row at most.
        restart: drop what an earlier run left.
    """

    source: Path
    out: Path
    source_format: str | None = None
    out_format: str | None = None
    on_error: Literal["stop", "skip"] = "stop"
    top_n: int | None = None
    activation: Activation = "sigmoid"
    keep_fields: bool = False
    chunk_pairs: int = CHUNK_PAIRS
    max_documents: int = 10_000
    restart: bool = False


@dataclass(frozen=True, slots=True)
class BulkProgress:
    """Progress of a bulk run.

    Attributes:
        rows: rows that were written.
        pairs: pairs that were scored.
        unscored: rows without a score.
        tokens: tokens of the scored pairs.
        truncated: pairs of which something was not read.
        share: how much of the input was read, if that can be told.
    """

    rows: int
    pairs: int
    unscored: int
    tokens: int
    truncated: int
    share: float | None = None


OnProgress = Callable[[BulkProgress], None]


def check_job(job: BulkRun) -> str:
    """Check what can be checked before a model is loaded; returns the format of the output.

    Raises:
        InvalidRequestError: formats that nothing tells, or an output that is the input.
        MissingDependencyError: Parquet without pyarrow.
    """
    formats = format_of(job.source, job.source_format, "--format"), format_of(job.out, job.out_format, "--out-format")
    if "parquet" in formats:
        require("pyarrow.parquet", "parquet", "Parquet")
    if job.out.suffix == ".gz":
        raise InvalidRequestError("The output is not packed.", hint="Leave .gz out of --out.")
    if job.out.exists() and job.source.exists() and job.out.samefile(job.source):
        raise InvalidRequestError("The output would replace the input.", hint="Use another --out.")
    check_activation(job.activation)
    if job.activation == "softmax":
        raise InvalidRequestError("A bulk run knows no softmax.", hint="Use sigmoid or none.")
    return formats[1]


def run_bulk(job: BulkRun, executor: Executor, watch: OnProgress = lambda moment: None) -> BulkProgress:
    """Score a file, or go on where an earlier run of the same job was ended.

    Args:
        job: what to score.
        executor: who scores.
        watch: told how far the run is, at its beginning and after every chunk.

    Returns:
        The end: what all runs of the job did together.

    Raises:
        InvalidInputFileError: the input cannot be read, or a row of it with `on_error="stop"`.
        InvalidRequestError: the output cannot be written, or belongs to another job.
        ScoringError: several chunks one after the other could not be scored at all.

    Example:
        >>> run_bulk(BulkRun(Path("in.jsonl"), Path("out.jsonl")), LocalExecutor(open_scorer(load_settings())))
        ... # doctest: +SKIP
        BulkProgress(rows=1000, pairs=50000, unscored=0, tokens=3211932, truncated=0, share=1.0)
    """
    out_format = check_job(job)
    paths = OutputPaths(job.out)
    with files.locked(paths.lock), open_reader(job.source, job.source_format, keep_fields=job.keep_fields) as reader:
        kind = detect_kind(reader, job.source)
        fingerprint = _fingerprint(job, kind, executor)
        output = RunOutput(paths, fingerprint, restart=job.restart, matches_prefix=reader.matches_prefix)
        watch(_moment(output, reader.share(output.journal.position)))
        if not output.complete:
            try:
                _Run(job, kind, reader, output, watch).score(executor)
            except BaseException:
                with suppress(RerankdError):
                    output.note()
                output.close()
                raise
        output.finish(kind, out_format)
        return _moment(output, 1.0)


@dataclass(slots=True)
class _Run:
    """Reading ahead and writing behind an executor."""

    job: BulkRun
    kind: RowKind
    reader: Reader
    output: RunOutput
    watch: OnProgress
    in_flight: deque[Batch] = field(default_factory=deque)
    bad: RerankdError | None = None

    def score(self, executor: Executor) -> None:
        """Write all that is left to write."""
        failed = 0
        results = executor.run(self._chunks())
        for result in results:
            batch = self.in_flight.popleft()
            if (result.number, len(result.outcomes)) != (batch.chunk.number, len(batch.chunk.groups)):
                raise ScoringError(
                    f"Chunk {batch.chunk.number} was answered with chunk {result.number}.", hint="Report this."
                )
            failed = failed + 1 if result.failed else 0
            if failed == MAX_FAILED_CHUNKS:
                raise _gives_up(result.outcomes[-1])
            said = answer(batch, result, self.kind, self.job.top_n, self.job.activation)
            self.output.append(batch, result, said)
            if not failed:  # those before a giving up are tried again by the next run
                self.output.settle()
            self.watch(_moment(self.output, batch.share))
        self.output.settle(now=True)
        if self.bad is not None:
            raise self.bad

    def _chunks(self) -> Iterator[Chunk]:
        """Chunks up to the end, or up to a row that ends the run: what is on its way then is still written."""
        begun = self.output.journal
        rows = self._rows(begun.position)
        try:
            for batch in batches(rows, begun.chunks, pairs=self.job.chunk_pairs, share=self.reader.share):
                self.in_flight.append(batch)
                yield batch.chunk
        except RerankdError as error:
            self.bad = error

    def _rows(self, start: Offset) -> Iterator[ReadRow]:
        index = start.rows
        for raw in self.reader.rows(start):
            yield self._row(raw, index), raw.after
            index += 1

    def _row(self, raw: RawRow, index: int) -> InputRow | InvalidRow:
        job, line = self.job, raw.after.line
        try:
            if raw.fault is not None:
                raise raw.fault
            return parse_row(
                raw.content, self.kind, index, line, max_documents=job.max_documents, keep_fields=job.keep_fields
            )
        except InvalidRequestError as fault:
            if job.on_error == "stop":
                again = (
                    "Mend it and run the same command again: what was scored is kept."
                    if self.reader.unit == "line"
                    else "Mend it and score the new file with --restart."
                )
                raise InvalidInputFileError(
                    f"{job.source}, {self.reader.unit} {line}: {fault.message}",
                    hint=f"{fault.hint} {again} Or go past such rows with --on-error skip.",
                ) from fault
            fields = raw.content if job.keep_fields and isinstance(raw.content, dict) else {}
            error = RowError(InvalidInputFileError.code, str(fault))
            return InvalidRow(index, line, row_id(raw.content), error, fields)


def _fingerprint(job: BulkRun, kind: RowKind, executor: Executor) -> RunFingerprint:
    # Not in it: how bad rows are dealt with and what makes one, so that a run that such a row ended can be helped on.
    options = {
        "kind": kind,
        "top_n": job.top_n,
        "activation": job.activation,
        "keep_fields": job.keep_fields,
        "chunk_pairs": job.chunk_pairs,
    }
    return {**input_fingerprint(job.source), **options, **executor.identity}


def _gives_up(outcome: object) -> ScoringError:
    last = outcome.message if isinstance(outcome, RowError) else ""
    return ScoringError(
        f"{MAX_FAILED_CHUNKS} chunks one after the other could not be scored. The last said: {last}",
        hint="Look at the model with `rerankd doctor`; then run the same command again: what was scored is kept.",
    )


def _moment(output: RunOutput, share: float | None) -> BulkProgress:
    now = output.journal
    return BulkProgress(now.position.rows, now.pairs, now.unscored, now.tokens, now.truncated, share)
