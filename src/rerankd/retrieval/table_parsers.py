"""Parsers of tables: CSV, JSON lines and Parquet. A row gives one document; tables are never held in memory."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import orjson

from rerankd._common.error_text import first_line
from rerankd._common.json_parsing import parse_json
from rerankd._common.optional import require
from rerankd._common.plural import counted
from rerankd.errors import InvalidInputFileError
from rerankd.retrieval.decoding import detect_file
from rerankd.retrieval.delimiters import DELIMITERS, Dialect, detect_dialect, parse_delimiter
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.row_text import row_document

MAX_FIELD = 10_000_000
_SAMPLE = 65_536
_LONG_INTEGER = re.compile(r"\d{19}")


def parse_csv(path: Path, text_field: str | None, delimiter: str | None = None) -> Iterator[ParsedDocument]:
    """Parse CSV, or tab-separated values in `.tsv`; the first row names the columns.

    Args:
        path: the file.
        text_field: column with the text of a row; None for a usual name.
        delimiter: the character between two values; None to detect it, which succeeds only if the rows agree.

    Raises:
        InvalidInputFileError: a row has more values than there are columns, or its quotes do not close.
    """
    default = "\t" if path.suffix.lower() == ".tsv" else ","
    named = parse_delimiter(delimiter) if delimiter else None
    with path.open(encoding=detect_file(path), newline="", errors="replace") as lines:
        dialect = detect_dialect(_whole_lines(lines), default, named)
        lines.seek(0)
        if dialect.has_separator_line:
            lines.readline()
        csv.field_size_limit(MAX_FIELD)
        documents = _documents(_csv_rows(lines, dialect), text_field)
        if dialect.delimiter == (named or default):
            yield from documents
            return
        shown = DELIMITERS.get(dialect.delimiter, dialect.delimiter)
        for number, document in enumerate(documents):
            yield document if number else replace(document, notes=(f"Its columns are separated by {shown}.",))


def parse_jsonl(path: Path, text_field: str | None, delimiter: str | None = None) -> Iterator[ParsedDocument]:
    """Parse JSON lines: one object per line."""

    def rows() -> Iterator[tuple[int, Mapping[str, Any]]]:
        with path.open(encoding=detect_file(path), newline="\n", errors="replace") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_FIELD + 1), ""), 1):
                if len(line) > MAX_FIELD:
                    raise InvalidInputFileError(
                        f"Line {number} is longer than {MAX_FIELD:,} characters.",
                        hint="Write one JSON object per line.",
                    )
                if not line.strip():
                    continue
                try:
                    row = _json(line.removeprefix("\ufeff"))
                except orjson.JSONDecodeError as error:
                    raise InvalidInputFileError(
                        f"Line {number} is not valid JSON ({error}).", hint="Write one JSON object per line."
                    ) from error
                if not isinstance(row, dict):
                    raise InvalidInputFileError(
                        f"Line {number} is not a JSON object.", hint="Write one JSON object per line."
                    )
                if name := _repeated(line, row):
                    raise InvalidInputFileError(f"Line {number} has the key {name!r} twice.", hint="Keep one of them.")
                yield number, row

    yield from _documents(rows(), text_field)


def _json(line: str) -> Any:
    """Return the value of a line; integers of any length are exact, where orjson would round them."""
    value = orjson.loads(line)
    if _LONG_INTEGER.search(line):
        with suppress(ValueError):  # an integer of thousands of digits
            return parse_json(line)
    return value


def _repeated(line: str, row: Mapping[str, Any]) -> str:
    """Return a key that an object has twice, of whose values the first would be lost; empty if there is none."""
    if not any(line.count(f'"{name}"') > 1 for name in row):
        return ""
    repeated: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        names = Counter(name for name, _ in pairs)
        repeated.extend(name for name, count in names.items() if count > 1)

    with suppress(ValueError, RecursionError):
        json.loads(line.removeprefix("\ufeff"), object_pairs_hook=note)
    return next(iter(repeated), "")


def parse_parquet(path: Path, text_field: str | None, delimiter: str | None = None) -> Iterator[ParsedDocument]:
    """Parse Parquet, a batch of rows at a time."""
    parquet: Any = require("pyarrow.parquet", "rag", "Reading parquet")
    try:
        with parquet.ParquetFile(path) as file:
            _check_header(file.schema_arrow.names)
            batches = ((0, row) for batch in file.iter_batches(1000) for row in batch.to_pylist())
            yield from _documents(batches, text_field)
    except (InvalidInputFileError, MemoryError):
        raise
    except Exception as error:  # libraries raise anything on a damaged file
        raise InvalidInputFileError(
            f"The Parquet file cannot be read ({first_line(error)}).", hint="Write it again."
        ) from error


def _documents(rows: Iterable[tuple[int, Mapping[str, Any]]], text_field: str | None) -> Iterator[ParsedDocument]:
    """Yield the documents of rows, each of which comes with the line on which it begins."""
    for number, (line, row) in enumerate(rows, 1):
        yield replace(row_document(row, number, text_field), line=line)


def _csv_rows(lines: TextIO, dialect: Dialect) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the rows after the header; a row that does not fit it is refused, because its text would be cut."""
    reader = csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
        strict=dialect.quoted,
    )
    number = end = 0
    header: Sequence[str] = ()
    named: Sequence[str] = ()  # the header as it is in the file
    try:
        for values in reader:
            line, end = end + 1 + dialect.has_separator_line, reader.line_num
            if not values:
                continue
            if not header:
                named = [value.strip() for value in values]
                header = _header(named) if any(named) else ()
                continue
            number += 1
            if any(value.strip() for value in values[len(header) :]):
                raise InvalidInputFileError(
                    f"Row {number} (line {reader.line_num}) has {counted(len(values), 'value')} "
                    f"for {counted(len(header), 'column')}.",
                    hint=f"Put values that contain {DELIMITERS.get(dialect.delimiter, dialect.delimiter)} in quotes,"
                    " or name the separator with --delimiter.",
                )
            cells = zip(header, named, values, strict=False)
            yield line, {name: value for name, given, value in cells if given or value.strip()}
    except csv.Error as error:
        raise InvalidInputFileError(
            f"Row {number + 1} (line {reader.line_num}) of the CSV file cannot be read ({error}).",
            hint="Close its quotes, and double quotes within a value.",
        ) from error


def _header(names: Sequence[str]) -> list[str]:
    """Return the names of the columns; one without a name, as spreadsheets write, is named by its position."""
    _check_header(names)
    return [name or f"column {number}" for number, name in enumerate(names, 1)]


def _check_header(names: Sequence[str]) -> None:
    twice = next((name for name, count in Counter(names).items() if name and count > 1), None)
    if twice is not None:
        raise InvalidInputFileError(f"The column {twice!r} appears twice.", hint="Give each column a name of its own.")


def _whole_lines(lines: TextIO) -> str:
    """Return the first lines, without one that the sample would cut, and without a value that goes on after them."""
    sample = lines.read(_SAMPLE)
    if len(sample) < _SAMPLE:
        return sample
    sample = sample[: sample.rfind("\n") + 1] or sample
    while sample.count('"') % 2 and "\n" in sample[:-1]:
        sample = sample[: sample.rstrip("\n").rfind("\n") + 1]
    return sample
