"""Documents and pairs from files, or standard input: txt lines, json, jsonl, csv, tsv and parquet."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rerankd._common.json_parsing import parse_json
from rerankd._common.lines import split_lines
from rerankd._common.optional import require
from rerankd._common.validation import to_document
from rerankd.cli.delimited import COMMA, TAB, Delimited, pair_columns
from rerankd.errors import InvalidInputFileError
from rerankd.types import Document, Pair

MAX_BYTES = 2 * 1024**3
MAX_DOCUMENTS = 1_000_000
FORMATS = ("txt", "json", "jsonl", "csv", "tsv", "parquet")
_LISTED = "txt, json, jsonl, csv, tsv or parquet"
_SUFFIXES = {"text": "txt", "ndjson": "jsonl", "tab": "tsv", "pq": "parquet"} | {name: name for name in FORMATS}
_LAID_OUT = {
    "doc", "docx", "htm", "html", "markdown", "md", "odp", "ods", "odt", "pdf", "ppt", "pptx", "rst", "rtf", "tar",
    "toml", "xhtml", "xls", "xlsx", "xml", "yaml", "yml", "zip",
}  # fmt: skip
_BINARY = {b"%PDF": "a PDF file", b"PK\x03\x04": "a ZIP archive or Office file", b"PAR1": "a Parquet file"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

Row = tuple[str, Any]
"""Position in the file, for messages, and a text, an object or a list."""


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

    def columns(names: list[str], position: str) -> list[str]:
        if field not in names:
            raise _no_text(names, field, position)
        return names

    documents = []
    for position, row in _rows(source, kind, Delimited(columns, separator)):
        if not isinstance(row, str | dict):
            raise InvalidInputFileError(
                f"{position}: a {type(row).__name__}, not a document.", hint="Write strings or objects."
            )
        documents.append(Document(row) if isinstance(row, str) else _document(row, field, position))
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


def _no_text(names: list[str], field: str, position: str) -> InvalidInputFileError:
    hint = "Name the column with --field."
    if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), "")):
        hint = (
            f"The columns seem to be separated by {other!r}: pass --separator {'TAB' if other == TAB else repr(other)}."
        )
    columns = ", ".join(map(str, names)) or "none"
    return InvalidInputFileError(f"{position}: no text under {field!r} (columns: {columns[:200]}).", hint=hint)


def _document(row: dict[str, Any], field: str, position: str) -> Document:
    if not isinstance(row.get(field), str):
        raise _no_text(list(row), field, position)
    document = to_document(row, text=field, id_names=("id", "_id"))
    if isinstance(score := document.metadata.get("score"), str):  # in csv every cell is text
        with suppress(ValueError):
            return replace(document, metadata={**document.metadata, "score": float(score)})
    return document


def _rows(source: str, kind: str | None, delimited: Delimited) -> Iterator[Row]:
    """Yield rows with their position in the file, for messages."""
    name = "standard input" if source == "-" else source
    if kind is not None and kind not in FORMATS:
        raise InvalidInputFileError(f"Unknown format {kind!r}.", hint=f"Use {_LISTED}.")
    kind = kind or _kind_of_name(source)
    if kind == "parquet":
        yield from _parquet(source)
        return
    text = _read(source, name)
    kind = kind or _kind_of_text(text)
    if kind == "json":
        yield from _json(text, name)
    elif kind == "jsonl":
        yield from _jsonl(text, name)
    elif kind in ("csv", "tsv"):
        yield from delimited.rows(text, name, TAB if kind == "tsv" else COMMA)
    else:
        yield from ((f"{name}, line {n}", line) for n, line in enumerate(split_lines(text), 1) if line.strip())


def _kind_of_name(source: str) -> str | None:
    """Return the format that a file's name tells; None if the content has to.

    Raises:
        InvalidInputFileError: a format whose lines are not documents.
    """
    path = Path(source.lower().removesuffix(".gz"))
    suffix = path.suffix.lstrip(".")
    if source != "-" and suffix in _LAID_OUT:
        raise InvalidInputFileError(
            f"{source}: lines of a .{suffix} file are not documents.",
            hint="Search it with rerankd index, or pass --format txt to read each line as a document.",
        )
    return None if source == "-" else _SUFFIXES.get(suffix)


def _kind_of_text(text: str) -> str:
    """Return the format of a text whose name tells none."""
    beginning = text.lstrip()[:1]
    if beginning == "[":
        try:
            return "json" if isinstance(parse_json(text), list) else "txt"
        except ValueError:
            return "txt"
    return "jsonl" if beginning and beginning in '{"' else "txt"


def _read(source: str, name: str) -> str:
    raw = _read_bytes(source, name)
    if (kind := next((kind for magic, kind in _BINARY.items() if raw.startswith(magic)), None)) is not None:
        raise InvalidInputFileError(f"{name} is {kind}, not text.", hint=f"Pass {_LISTED}, or use rerankd index.")
    encoding = "utf-16" if raw.startswith(_UTF16) else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InvalidInputFileError(
            f"{name}, line {line}: not {encoding.removesuffix('-sig').upper()}.",
            hint="Convert it: iconv -f GB18030 -t UTF-8.",
        ) from error
    if (position := text.find("\0")) >= 0:
        raise InvalidInputFileError(
            f"{name}, line {text.count(chr(10), 0, position) + 1}: a NUL character, which no UTF-8 text has.",
            hint="Convert it: iconv -f UTF-16LE -t UTF-8.",
        )
    return text


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


def _json(text: str, name: str) -> Iterator[Row]:
    """Yield the items of an array, or the one object; JSON lines under this name are read as such."""
    try:
        content = parse_json(text or "[]")
    except ValueError as error:
        if _is_json(next((line for line in split_lines(text) if line.strip()), "")):
            yield from _jsonl(text, name)
            return
        raise InvalidInputFileError(f"{name}: not JSON ({error}).", hint="Write an array of documents.") from error
    items = content if isinstance(content, list) else [content]
    yield from ((f"{name}, item {number}", item) for number, item in enumerate(items, 1))


def _is_json(line: str) -> bool:
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def _jsonl(text: str, name: str) -> Iterator[Row]:
    for number, line in enumerate(split_lines(text), 1):
        if not line.strip():
            continue
        try:
            yield f"{name}, line {number}", parse_json(line)
        except ValueError as error:
            raise InvalidInputFileError(
                f"{name}, line {number}: not JSON ({error}).", hint="Write one JSON value per line."
            ) from error


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
