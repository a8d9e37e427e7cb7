"""Input formats: the format of a file, its reader, and the kind of its rows."""

from __future__ import annotations

from pathlib import Path

from rerankd._common.plural import counted
from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.jobs.bulk.jsonl_reader import JsonlReader
from rerankd.jobs.bulk.parquet_reader import ParquetReader
from rerankd.jobs.bulk.reader import Offset, Reader
from rerankd.jobs.bulk.rows import RowKind, row_kind

FORMATS = ("jsonl", "parquet")
ROWS_TO_TELL = 1000
_ENDINGS = {"jsonl": "jsonl", "ndjson": "jsonl", "parquet": "parquet", "pq": "parquet"}


def format_of(path: Path, declared_format: str | None, flag: str) -> str:
    """Return the format of a file: the declared one, or that of the extension; `.gz` is ignored.

    Raises:
        InvalidRequestError: the format is unknown.

    Example:
        >>> format_of(Path("pairs.jsonl.gz"), None, "--format")
        'jsonl'
    """
    if declared_format is not None and declared_format not in FORMATS:
        raise InvalidRequestError(f"Unknown format {declared_format!r}.", hint=f"Use {flag} jsonl or {flag} parquet.")
    name = path.name.lower().removesuffix(".gz")
    file_format = declared_format or _ENDINGS.get(name.rpartition(".")[2])
    if file_format is None:
        raise InvalidRequestError(
            f"The extension of {path.name!r} is not one of {', '.join(_ENDINGS)}.", hint=f"Name the format with {flag}."
        )
    return file_format


def open_reader(path: Path, declared_format: str | None, *, keep_fields: bool) -> Reader:
    """Open a file of rows.

    Raises:
        InvalidInputFileError: the file cannot be read.
        MissingDependencyError: Parquet without pyarrow.
    """
    if format_of(path, declared_format, "--format") == "parquet":
        return ParquetReader(path, keep_fields=keep_fields)
    return JsonlReader(path)


def detect_kind(reader: Reader, path: Path) -> RowKind:
    """Return the kind of a file's rows, by the first valid row; pairs for an empty file.

    Raises:
        InvalidInputFileError: none of the first thousand rows is valid.
    """
    if (declared := reader.kind()) is not None:
        return declared
    seen = 0
    for raw in reader.rows(Offset()):
        if (kind := row_kind(raw.content)) is not None:
            return kind
        seen += 1
        if seen == ROWS_TO_TELL:
            break
    if not seen:
        return "pairs"
    raise InvalidInputFileError(
        f"{path}: none of the first {counted(seen, 'row')} is a query with documents, or a pair.",
        hint="Write rows with 'query' and 'documents', or rows with 'query' and 'document'.",
    )
