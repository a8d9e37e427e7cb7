"""Parsers of tables: CSV, JSON lines and Parquet. A row gives one document; tables are never held in memory."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from rerankd._common.error_text import first_line
from rerankd._common.optional import require
from rerankd.errors import InvalidInputFileError
from rerankd.retrieval.decoding import decode
from rerankd.retrieval.parsed_document import ParsedDocument
from rerankd.retrieval.splitting import Block

MAX_FIELD = 10_000_000
TEXT_FIELDS = ("text", "content", "contents", "body", "passage", "document")
ID_FIELDS = ("id", "_id", "doc_id", "docid")
TITLE_FIELDS = ("title", "heading")


def parse_csv(path: Path, text_field: str | None) -> Iterator[ParsedDocument]:
    """Parse CSV, or tab-separated values in `.tsv`; the first row names the columns."""
    with path.open("rb") as file:
        encoding = _encoding(file.read(1_000_000))
    with path.open(encoding=encoding, newline="", errors="strict") as lines:
        csv.field_size_limit(MAX_FIELD)
        try:
            yield from _rows(csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ","), text_field)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InvalidInputFileError(f"The CSV file cannot be read ({error}).", hint="Save it again.") from error


def parse_jsonl(path: Path, text_field: str | None) -> Iterator[ParsedDocument]:
    """Parse JSON lines: one object per line, in UTF-8."""

    def lines() -> Iterator[Mapping[str, Any]]:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
                except orjson.JSONDecodeError as error:
                    raise InvalidInputFileError(
                        f"Line {number} is not valid JSON ({error}).", hint="Write one JSON object per line, in UTF-8."
                    ) from error
                if not isinstance(row, dict):
                    raise InvalidInputFileError(
                        f"Line {number} is not a JSON object.", hint="Write one JSON object per line."
                    )
                yield row

    yield from _rows(lines(), text_field)


def parse_parquet(path: Path, text_field: str | None) -> Iterator[ParsedDocument]:
    """Parse Parquet, a batch of rows at a time."""
    parquet: Any = require("pyarrow.parquet", "rag", "Reading parquet")
    try:
        with parquet.ParquetFile(path) as file:
            batches = (row for batch in file.iter_batches(1000) for row in batch.to_pylist())
            yield from _rows(batches, text_field)
    except (InvalidInputFileError, MemoryError):
        raise
    except Exception as error:  # libraries raise anything on a damaged file
        raise InvalidInputFileError(
            f"The Parquet file cannot be read ({first_line(error)}).", hint="Write it again."
        ) from error


def _rows(rows: Iterable[Mapping[str, Any]], text_field: str | None) -> Iterator[ParsedDocument]:
    """Yield each row as a document: text, title and id from their usual columns, all other columns as metadata."""
    for number, row in enumerate(rows, 1):
        columns = {str(name): value for name, value in row.items() if name is not None}
        text_column = text_field or next((name for name in TEXT_FIELDS if isinstance(columns.get(name), str)), None)
        text = columns.get(text_column or "")
        if text_column is None or (text is not None and not isinstance(text, str)) or text_column not in columns:
            raise InvalidInputFileError(
                f"Row {number} has no text column{f' {text_column!r}' if text_column else ''};"
                f" its columns are {', '.join(columns)[:200]}.",
                hint="Name the column with --field.",
            )
        title = next((columns[name] for name in TITLE_FIELDS if isinstance(columns.get(name), str)), "")
        row_id = next((str(columns[name]) for name in ID_FIELDS if isinstance(columns.get(name), str | int)), "")
        metadata = {name: value for name, value in columns.items() if name != text_column and name not in ID_FIELDS}
        blocks = [Block(part, (title,) if title else ()) for part in re.split(r"\n\s*\n", text or "")]
        yield ParsedDocument(blocks, row_id, metadata)


def _encoding(sample: bytes) -> str:
    """Return the encoding of a file by its beginning, which may end within a character."""
    lines = sample[: sample.rfind(b"\n") + 1] or sample
    text = decode(lines)
    for name in ("utf-8-sig", "utf-16", "gb18030", "cp1252"):
        try:
            if lines.decode(name).removeprefix("\ufeff") == text.removeprefix("\ufeff"):
                return name
        except UnicodeDecodeError:
            continue
    return "utf-8"
