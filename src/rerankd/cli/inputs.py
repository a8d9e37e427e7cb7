"""Documents and pairs from files, or standard input: txt lines, json, jsonl, csv, tsv and parquet."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from rerankd._common.delimited import Delimited, pair_columns
from rerankd._common.document_rows import (
    FORMATS,
    LISTED,
    Row,
    decode_text,
    documents_in,
    kind_of_name,
    text_columns,
    text_rows,
)
from rerankd._common.optional import require
from rerankd.errors import InvalidInputFileError
from rerankd.types import Document, Pair

MAX_BYTES = 2 * 1024**3
MAX_DOCUMENTS = 1_000_000


def read_documents(
    source: str, field: str = "text", kind: str | None = None, separator: str | None = None
) -> list[Document]:
    """Read the candidates of one query.

    Args:
        source: a path, or `-` for standard input; it may be compressed with gzip.
        field: name of the text column or key.
        kind: one of `FORMATS`; None to infer it from the file name, or else from the first character.
        separator: character between the columns of csv; None for a comma.

    Raises:
        InvalidInputFileError: not readable, neither UTF-8 nor UTF-16 with a byte order mark, or a line that is not a
            document; the message names the line.
    """
    documents = []
    rows = _rows(source, kind, Delimited(text_columns(field), separator))
    for document in documents_in(rows, field):
        documents.append(document)
        if len(documents) > MAX_DOCUMENTS:
            raise InvalidInputFileError(
                f"{source} holds more than {MAX_DOCUMENTS:,} documents.", hint="Split the file."
            )
    return documents


def read_pairs(source: str, kind: str | None = None, separator: str | None = None) -> list[Pair]:
    """Read pairs: rows with `query` and `document` (or `text`); tsv needs no header, and json may have lists of two.

    Args:
        source: a path, or `-` for standard input.
        kind: one of `FORMATS`; None to infer it from the file name, tsv for standard input.
        separator: character between the columns of csv; None for a comma.

    Raises:
        InvalidInputFileError: as `read_documents`.
    """
    kind = kind or ("tsv" if source == "-" else None)
    pairs = []
    for position, row in _rows(source, kind, Delimited(pair_columns, separator, header=False)):
        cells = row if isinstance(row, list) else None
        if isinstance(row, dict):
            cells = [row.get("query"), row["document"] if "document" in row else row.get("text")]
        if cells is None or len(cells) != 2 or not all(isinstance(cell, str) for cell in cells):
            raise InvalidInputFileError(
                f"{position}: not a pair.", hint="Write query<TAB>document, or rows with 'query' and 'document'."
            )
        pairs.append(Pair(*cells))
    return pairs


def _rows(source: str, kind: str | None, delimited: Delimited) -> Iterator[Row]:
    """Yield rows with their position in the file, for messages."""
    name = "standard input" if source == "-" else source
    if kind is not None and kind not in FORMATS:
        raise InvalidInputFileError(f"Unknown format {kind!r}.", hint=f"Use {LISTED}.")
    kind = kind or (None if source == "-" else kind_of_name(source))
    if kind == "parquet":
        yield from _parquet(source)
        return
    yield from text_rows(decode_text(_read_bytes(source, name), name), name, kind, delimited)


def _read_bytes(source: str, name: str) -> bytes:
    try:
        if source == "-":
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
        if raw.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as unpacked:
                raw = unpacked.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputFileError(f"{name} cannot be read ({reason}).", hint="Check the path.") from error
    if len(raw) > MAX_BYTES:
        raise InvalidInputFileError(f"{name} is larger than {MAX_BYTES >> 30} GiB.", hint="Split it.")
    return raw


def _parquet(source: str) -> Iterator[Row]:
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
