"""Reading the input from any place in it, row by row: what a reader is, and which one a file gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rerankd.errors import InvalidRequestError
from rerankd.jobs.bulk.rows import RowKind


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
        """Return the share of the file before an offset, 0 to 1; None if it is unknown."""
        ...

    def matches_prefix(self, position: Offset) -> bool:
        """Return True if the file before an offset is unchanged since the offset was read."""
        ...

    def kind(self) -> RowKind | None:
        """Return the kind of the rows if the file declares it; None if rows have to be read."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
