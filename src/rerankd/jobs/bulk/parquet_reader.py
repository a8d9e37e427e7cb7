"""Reader of Parquet files, from any row; memory is bounded by the size of a row group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rerankd._common.optional import require
from rerankd.errors import InvalidInputFileError
from rerankd.jobs.bulk.reader import Offset, RawRow
from rerankd.jobs.bulk.rows import RowKind, row_kind

COLUMNS = ("id", "query", "documents", "document", "text", "top_n")
_ROWS_AT_ONCE = 128


class ParquetReader:
    """Reads a Parquet file.

    Args:
        path: path of the file.
        keep_fields: read every column, not only the required ones.

    Raises:
        InvalidInputFileError: the file cannot be read.
        MissingDependencyError: pyarrow is not installed.
    """

    unit = "row"

    def __init__(self, path: Path, *, keep_fields: bool) -> None:
        require("pyarrow.parquet", "parquet", "Reading Parquet")
        import pyarrow.parquet

        self._path = path
        with self._readable():
            self._file: Any = pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20)
        names = self._file.schema_arrow.names
        self._columns = [name for name in names if keep_fields or name in COLUMNS]
        self._size: int = self._file.metadata.num_rows

    def rows(self, start: Offset) -> Iterator[RawRow]:
        """Yield the rows from an offset on."""
        group, skipped = 0, 0
        metadata = self._file.metadata
        while group < metadata.num_row_groups and skipped + (size := metadata.row_group(group).num_rows) <= start.rows:
            group, skipped = group + 1, skipped + size
        number = skipped
        with self._readable():
            batches = self._file.iter_batches(
                _ROWS_AT_ONCE, row_groups=range(group, metadata.num_row_groups), columns=self._columns
            )
            for batch in batches:
                skip = min(max(0, start.rows - number), batch.num_rows)
                number += skip
                for content in batch.slice(skip).to_pylist():
                    number += 1
                    yield RawRow(content, None, Offset(number, number, number))

    def share(self, position: Offset) -> float | None:
        """Return the share of the file before an offset."""
        return position.rows / self._size if self._size else None

    def matches_prefix(self, position: Offset) -> bool:
        """Return True only at the beginning: a Parquet file is never appended to."""
        return position.rows == 0

    def kind(self) -> RowKind | None:
        """Return the kind of the rows, by the names of the columns.

        Raises:
            InvalidInputFileError: the columns are those of neither queries nor pairs.
        """
        kind = row_kind(dict.fromkeys(self._columns))
        if kind is None:
            raise InvalidInputFileError(
                f"{self._path} has the columns {', '.join(self._file.schema_arrow.names) or '(none)'}.",
                hint="Name them 'query' and 'documents', or 'query' and 'document'.",
            )
        return kind

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        import pyarrow

        try:
            yield
        except (OSError, pyarrow.ArrowException) as error:
            raise InvalidInputFileError(
                f"{self._path} cannot be read ({error}).", hint="Check that it is a whole Parquet file."
            ) from error
