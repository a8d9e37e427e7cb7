"""Bulk run from top to bottom: lock, read, chunk, score, write, rename."""

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
from rerankd.jobs.bulk.formatting import format_chunk
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
        source: input file: JSON lines, plain or gzipped, or Parquet.
        out: output file: JSON lines or Parquet.
        source_format: `jsonl` or `parquet`; None to infer it from the file name.
        out_format: format of `out`, likewise.
        on_error: `stop` ends the run at an invalid row; `skip` gives such a row an error in place of a score.
        top_n: documents to keep per query; None for all.
        activation: `sigmoid` or `none`.
        keep_fields: copy the fields of the input to the output.
        chunk_pairs: number of pairs scored together.
        max_documents: largest number of documents in one row.
        restart: discard the progress of an earlier run.
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
        rows: rows written.
        pairs: pairs scored.
        unscored: rows without a score.
        tokens: tokens of the scored pairs.
        truncated: pairs of which some text was cut.
        share: share of the input that was read, 0 to 1; None if it is unknown.
    """

    rows: int
    pairs: int
    unscored: int
    tokens: int
    truncated: int
    share: float | None = None


OnProgress = Callable[[BulkProgress], None]


def check_run(run: BulkRun) -> str:
    """Check the options of a run before a model is loaded, and return the format of the output.

    Raises:
        InvalidRequestError: a format is unknown, or the output is the input.
        MissingDependencyError: Parquet without pyarrow.
    """
    formats = format_of(run.source, run.source_format, "--format"), format_of(run.out, run.out_format, "--out-format")
    if "parquet" in formats:
        require("pyarrow.parquet", "parquet", "Parquet")
    if run.out.suffix == ".gz":
        raise InvalidRequestError("The output cannot be gzipped.", hint="Remove .gz from --out.")
    if run.out.exists() and run.source.exists() and run.out.samefile(run.source):
        raise InvalidRequestError("The output would replace the input.", hint="Use another --out.")
    check_activation(run.activation)
    if run.activation == "softmax":
        raise InvalidRequestError("A bulk run does not support softmax.", hint="Use sigmoid or none.")
    return formats[1]


def run_bulk(run: BulkRun, executor: Executor, on_progress: OnProgress = lambda progress: None) -> BulkProgress:
    """Score a file, or resume an earlier run with the same options.

    Args:
        run: input, output and options.
        executor: scores the chunks.
        on_progress: called at the beginning and after every chunk.

    Returns:
        Final progress, earlier parts of a resumed run included.

    Raises:
        InvalidInputFileError: the input cannot be read, or a row is invalid with `on_error="stop"`.
        InvalidRequestError: the output cannot be written, or belongs to another run.
        ScoringError: several chunks in a row could not be scored at all.

    Example:
        >>> run_bulk(BulkRun(Path("in.jsonl"), Path("out.jsonl")), LocalExecutor(open_scorer(load_settings())))
        ... # doctest: +SKIP
        BulkProgress(rows=1000, pairs=50000, unscored=0, tokens=3211932, truncated=0, share=1.0)
    """
    out_format = check_run(run)
    paths = OutputPaths(run.out)
    with files.locked(paths.lock), open_reader(run.source, run.source_format, keep_fields=run.keep_fields) as reader:
        kind = detect_kind(reader, run.source)
        fingerprint = _fingerprint(run, kind, executor)
        output = RunOutput(paths, fingerprint, restart=run.restart, matches_prefix=reader.matches_prefix)
        on_progress(_progress(output, reader.share(output.checkpoint.position)))
        if not output.complete:
            try:
                _ChunkLoop(run, kind, reader, output, on_progress).score(executor)
            except BaseException:
                with suppress(RerankdError):
                    output.save_checkpoint()
                output.close()
                raise
        output.finish(kind, out_format)
        return _progress(output, 1.0)


@dataclass(slots=True)
class _ChunkLoop:
    """Loop that reads ahead of an executor and writes behind it."""

    run: BulkRun
    kind: RowKind
    reader: Reader
    output: RunOutput
    on_progress: OnProgress
    in_flight: deque[Batch] = field(default_factory=deque)
    input_error: RerankdError | None = None

    def score(self, executor: Executor) -> None:
        """Score and write the rest of the input."""
        failures = 0
        results = executor.run(self._chunks())
        for result in results:
            batch = self.in_flight.popleft()
            if (result.number, len(result.outcomes)) != (batch.chunk.number, len(batch.chunk.groups)):
                raise ScoringError(
                    f"The executor returned chunk {result.number} for chunk {batch.chunk.number}.",
                    hint="This is a bug: please report it.",
                )
            failures = failures + 1 if result.failed else 0
            if failures == MAX_FAILED_CHUNKS:
                raise _too_many_failures(result.outcomes[-1])
            lines = format_chunk(batch, result, self.kind, self.run.top_n, self.run.activation)
            self.output.append(batch, result, lines)
            if not failures:  # failed chunks before the run gives up are scored again when it resumes
                self.output.commit()
            self.on_progress(_progress(self.output, batch.share))
        self.output.commit(save_now=True)
        if self.input_error is not None:
            raise self.input_error

    def _chunks(self) -> Iterator[Chunk]:
        """Yield chunks up to the end of the input or to a fatal row; chunks in flight are still written then."""
        checkpoint = self.output.checkpoint
        rows = self._rows(checkpoint.position)
        try:
            for batch in batches(rows, checkpoint.chunks, pairs=self.run.chunk_pairs, share=self.reader.share):
                self.in_flight.append(batch)
                yield batch.chunk
        except RerankdError as error:
            self.input_error = error

    def _rows(self, start: Offset) -> Iterator[ReadRow]:
        index = start.rows
        for raw in self.reader.rows(start):
            yield self._row(raw, index), raw.after
            index += 1

    def _row(self, raw: RawRow, index: int) -> InputRow | InvalidRow:
        run, line = self.run, raw.after.line
        try:
            if raw.fault is not None:
                raise raw.fault
            return parse_row(
                raw.content, self.kind, index, line, max_documents=run.max_documents, keep_fields=run.keep_fields
            )
        except InvalidRequestError as fault:
            if run.on_error == "stop":
                advice = (
                    "Correct it and run the same command again: finished work is kept."
                    if self.reader.unit == "line"
                    else "Correct it and score the new file with --restart."
                )
                raise InvalidInputFileError(
                    f"{run.source}, {self.reader.unit} {line}: {fault.message}",
                    hint=f"{fault.hint} {advice} Or skip such rows with --on-error skip.",
                ) from fault
            fields = raw.content if run.keep_fields and isinstance(raw.content, dict) else {}
            error = RowError(InvalidInputFileError.code, str(fault))
            return InvalidRow(index, line, row_id(raw.content), error, fields)


def _fingerprint(run: BulkRun, kind: RowKind, executor: Executor) -> RunFingerprint:
    # on_error and max_documents are left out: a run that ended at an invalid row may resume with other values.
    options = {
        "kind": kind,
        "top_n": run.top_n,
        "activation": run.activation,
        "keep_fields": run.keep_fields,
        "chunk_pairs": run.chunk_pairs,
    }
    return {**input_fingerprint(run.source), **options, **executor.identity}


def _too_many_failures(outcome: object) -> ScoringError:
    last = outcome.message if isinstance(outcome, RowError) else ""
    return ScoringError(
        f"{MAX_FAILED_CHUNKS} chunks in a row could not be scored. The last error: {last}",
        hint="Check the model with `rerankd doctor`, then run the same command again: finished work is kept.",
    )


def _progress(output: RunOutput, share: float | None) -> BulkProgress:
    totals = output.checkpoint
    return BulkProgress(totals.position.rows, totals.pairs, totals.unscored, totals.tokens, totals.truncated, share)
