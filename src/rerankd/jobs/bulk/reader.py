"""Reading the input from any place in it, row by row: what a reader is, and which one a file gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.jobs.bulk.rows import RowKind, row_kind

FORMATS = ("jsonl", "parquet")
_ENDINGS = {"jsonl": "jsonl", "ndjson": "jsonl", "parquet": "parquet", "pq": "parquet"}
ROWS_TO_TELL = 1000


@dataclass(frozen=True, slots=True)
class Offset:
    """A place between two rows.

    Attributes:
        offset: bytes before it (unpacked bytes of a packed file); for Parquet, rows.
        line: lines before it, empty ones counted in; for Parquet, rows.
        rows: rows before it.
        digest: hash of everything before it, a chain over the lines; empty for Parquet.
    """

    offset: int = 0
    line: int = 0
    rows: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as it was read: its value or why there is none, and the place behind it."""

    content: object
    fault: InvalidRequestError | None
    after: Offset


class Reader(Protocol):
    """Reads one file.

    Attributes:
        unit: what people count in it: `line` or `row`.
    """

    unit: str

    def rows(self, start: Offset) -> Iterator[RawRow]:
        """The rows from `start` on. Files that cannot be read raise `InvalidInputFileError`."""
        ...

    def share(self, position: Offset) -> float | None:
        """How much of the file is before a place, 0 to 1; None where nothing tells."""
        ...

    def matches_prefix(self, position: Offset) -> bool:
        """Whether everything before a place is what it was when the place was noted."""
        ...

    def kind(self) -> RowKind | None:
        """What the rows are, as far as the file itself tells without reading rows."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def format_of(path: Path, given: str | None, flag: str) -> str:
    """The format of a file: as given, or by its ending; `.gz` does not count.

    Raises:
        InvalidRequestError: neither tells.

    Example:
        >>> format_of(Path("pairs.jsonl.gz"), None, "--format")
        'jsonl'
    """
    if given is not None and given not in FORMATS:
        raise InvalidRequestError(f"Unknown format {given!r}.", hint=f"Use {flag} jsonl or {flag} parquet.")
    name = path.name.lower().removesuffix(".gz")
    found = given or _ENDINGS.get(name.rpartition(".")[2])
    if found is None:
        raise InvalidRequestError(
            f"The ending of {path.name!r} is none of {', '.join(_ENDINGS)}.", hint=f"Say what it is with {flag}."
        )
    return found


def open_reader(path: Path, given: str | None, *, keep_fields: bool) -> Reader:
    """Open a file of rows.

    Raises:
        InvalidInputFileError: it cannot be read.
        MissingDependencyError: Parquet without pyarrow.
    """
    if format_of(path, given, "--format") == "parquet":
        from rerankd.jobs.bulk.parquet_reader import ParquetReader

        return ParquetReader(path, keep_fields=keep_fields)
    from rerankd.jobs.bulk.jsonl_reader import JsonlReader

    return JsonlReader(path)


def detect_kind(reader: Reader, path: Path) -> RowKind:
    """What the rows of a file are, by the first that tells; of an empty file, pairs.

    Raises:
        InvalidInputFileError: none of the first thousand tells.
    """
    if (told := reader.kind()) is not None:
        return told
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
        f"{path}: none of the first {seen:,} rows is a query with documents, or a pair.",
        hint="Write rows with 'query' and 'documents', or rows with 'query' and 'document'.",
    )
