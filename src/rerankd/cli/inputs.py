"""Documents and pairs from files: txt lines, jsonl, csv, tsv and parquet, or standard input."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rerankd._common.optional import require
from rerankd.errors import InvalidInputFileError
from rerankd.types import Document, Pair

MAX_BYTES = 2 * 1024**3
MAX_DOCUMENTS = 1_000_000
FORMATS = ("txt", "jsonl", "csv", "tsv", "parquet")


def read_documents(source: str, field: str = "text", kind: str | None = None) -> list[Document]:
    """Read the candidates of one query.

    Args:
        source: a path, or `-` for standard input.
        field: name of the text column or key.
        kind: one of `FORMATS`; None to infer it from the file name, or for standard input from its first character.

    Raises:
        InvalidInputFileError: not readable, not UTF-8, or a line that is not a document; the message names the line.
    """
    documents = []
    for position, row in _rows(source, kind):
        if isinstance(row, str):
            documents.append(Document(row))
        else:
            documents.append(_document(row, field, position))
        if len(documents) > MAX_DOCUMENTS:
            raise InvalidInputFileError(
                f"{source} holds more than {MAX_DOCUMENTS:,} documents.", hint="Split the file."
            )
    return documents


def read_pairs(source: str, kind: str | None = None) -> list[Pair]:
    """Read pairs: tsv without header, or csv, jsonl and parquet with `query` and `document`.

    Raises:
        InvalidInputFileError: as `read_documents`.
    """
    kind = kind or ("tsv" if source == "-" else None)
    pairs = []
    for position, row in _rows(source, kind, header=False):
        if isinstance(row, str) or not isinstance(row.get("query"), str) or not isinstance(row.get("document"), str):
            raise InvalidInputFileError(
                f"{position}: not a pair.", hint="Write query<TAB>document, or rows with 'query' and 'document'."
            )
        pairs.append(Pair(row["query"], row["document"]))
    return pairs


def _document(row: dict[str, Any], field: str, position: str) -> Document:
    text = row.get(field)
    if not isinstance(text, str):
        columns = ", ".join(map(str, row)) or "none"
        raise InvalidInputFileError(
            f"{position}: no text under {field!r} (columns: {columns}).", hint="Name the column with --field."
        )
    identity = next((row[key] for key in ("id", "_id") if row.get(key) is not None), None)
    rest = {key: value for key, value in row.items() if key not in (field, "id", "_id", "metadata")}
    nested = row.get("metadata")
    if isinstance(nested, dict) and not rest:
        metadata = nested
    else:
        metadata = rest | ({"metadata": nested} if nested is not None else {})
    return Document(text, None if identity is None else str(identity), metadata)


def _rows(source: str, kind: str | None, *, header: bool = True) -> Iterator[tuple[str, str | dict[str, Any]]]:
    """Yield rows with their position in the file, for messages."""
    name = "standard input" if source == "-" else source
    if kind is not None and kind not in FORMATS:
        raise InvalidInputFileError(f"Unknown format {kind!r}.", hint="Use txt, jsonl, csv, tsv or parquet.")
    kind = kind or (None if source == "-" else Path(source).suffix.lstrip(".").lower().replace("ndjson", "jsonl"))
    if kind == "parquet":
        yield from _parquet(source)
        return
    text = _read(source, name)
    if kind is None:
        kind = "jsonl" if text.lstrip()[:1] in ("{", '"') else "txt"
    if kind == "jsonl":
        yield from _jsonl(text, name)
    elif kind in ("csv", "tsv"):
        yield from _csv(text, name, "\t" if kind == "tsv" else ",", header or kind == "csv")
    else:
        yield from (
            (f"{name}, line {n}", line.rstrip("\r")) for n, line in enumerate(text.split("\n"), 1) if line.strip()
        )


def _read(source: str, name: str) -> str:
    try:
        if source == "-":
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInputFileError(f"{name} cannot be read ({error.strerror}).", hint="Check the path.") from error
    if len(raw) > MAX_BYTES:
        raise InvalidInputFileError(f"{name} is larger than {MAX_BYTES >> 30} GiB.", hint="Split it.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InvalidInputFileError(
            f"{name}, line {line}: not UTF-8.", hint="Convert it: iconv -f GB18030 -t UTF-8."
        ) from error


def _jsonl(text: str, name: str) -> Iterator[tuple[str, str | dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        position = f"{name}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InvalidInputFileError(
                f"{position}: not JSON ({error}).", hint="Write one JSON value per line."
            ) from error
        if not isinstance(row, str | dict):
            raise InvalidInputFileError(
                f"{position}: a {type(row).__name__}, not a document.", hint="Write strings or objects."
            )
        yield position, row


def _csv(text: str, name: str, delimiter: str, header: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(2**31 - 1)
    stream = io.StringIO(text, newline="")
    if delimiter == ",":
        reader = csv.reader(stream, strict=True)
    else:  # in tab-separated files quotes are ordinary characters
        reader = csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    names = None if header else ["query", "document"]
    try:
        for row in reader:
            if not row:
                continue
            if names is None:
                names = row
            elif len(row) != len(names):
                raise InvalidInputFileError(
                    f"{name}, line {reader.line_num}: {len(row)} columns, expected {len(names)} ({', '.join(names)}).",
                    hint="Quote fields that contain the separator.",
                )
            else:
                yield f"{name}, line {reader.line_num}", dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise InvalidInputFileError(f"{name}, line {reader.line_num}: {error}.", hint="Correct the quoting.") from error


def _parquet(source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    require("pyarrow", "parquet", "Reading parquet")
    import pyarrow
    import pyarrow.parquet

    if source == "-":
        raise InvalidInputFileError("Parquet cannot be read from standard input.", hint="Pass a path.")
    try:
        with pyarrow.parquet.ParquetFile(source) as file:
            number = 0
            for batch in file.iter_batches(1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{source}, row {number}", row
    except (OSError, pyarrow.ArrowException) as error:
        raise InvalidInputFileError(
            f"{source} cannot be read ({error}).", hint="Check that it is a parquet file."
        ) from error
