"""Protocol of input readers, which read rows from any offset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rerankd.errors import InvalidRequestError
from rerankd.jobs.bulk.rows import RowKind


@dataclass(frozen=True, slots=True)
class Offset:
    """Position between two rows of the input.

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
    """Row as it was read: its value, or the error of reading it, and the offset behind it."""

    content: object
    fault: InvalidRequestError | None
    after: Offset


class Reader(Protocol):
    """Reads one file.

    Attributes:
        unit: unit of positions in error messages: `line` or `row`.
    """

    unit: str

    def rows(self, start: Offset) -> Iterator[RawRow]:
        """Yield the rows from an offset on; raises `InvalidInputFileError` if the file cannot be read."""
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
