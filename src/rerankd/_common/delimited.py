"""Rows of delimited text, csv and tsv: every cell has a column, or the row is refused."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from rerankd._common.plural import counted
from rerankd.errors import InvalidInputFileError, InvalidRequestError

COMMA, TAB = ",", "\t"
QUERY_NAMES = frozenset({"query", "question", "query_text", "text_1", "sentence1"})
DOCUMENT_NAMES = frozenset({"document", "doc", "passage", "text", "answer", "document_text", "text_2", "sentence2"})

Columns = Callable[[list[str], str], list[str]]
"""Checks the names of the columns, given with their position for messages, and returns those to use."""


@dataclass(frozen=True, slots=True)
class Delimited:
    """How delimited text is read.

    Attributes:
        columns: checks and names the columns.
        separator: character between the columns, or `TAB`; None for the format's own.
        header: False if tsv may have no header: then its rows are pairs of query and document.
    """

    columns: Columns
    separator: str | None = None
    header: bool = True

    def rows(self, text: str, name: str, separator: str) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the rows with their position.

        Args:
            text: the whole text.
            name: name of the file, for messages.
            separator: separator of the format, if `separator` names none.

        Raises:
            InvalidInputFileError: a row with more or fewer cells than columns, or columns that cannot be used.
        """
        reader = _reader(text, _checked_separator(self.separator) or separator)
        names: list[str] | None = None
        try:
            for row in reader:
                if not row:
                    continue
                position = f"{name}, line {reader.line_num}"
                if names is None:
                    names, is_header = self._names(row, position, separator)
                    if is_header:
                        continue
                if len(row) != len(names):
                    raise InvalidInputFileError(
                        f"{position}: {counted(len(row), 'column')}, expected {len(names)} ({', '.join(names)}).",
                        hint="Quote fields that contain the separator.",
                    )
                yield position, dict(zip(names, row, strict=True))
        except csv.Error as error:
            raise InvalidInputFileError(
                f"{name}, line {reader.line_num}: {error}.", hint="Correct the quoting."
            ) from error

    def _names(self, row: list[str], position: str, separator: str) -> tuple[list[str], bool]:
        """Return the names of the columns, and True if the first row gave them."""
        if not self.header and separator == TAB and not _is_pair_header(row):
            return ["query", "document"], False
        names = [name.strip() or f"column {number}" for number, name in enumerate(row, 1)]
        name, count = Counter(names).most_common(1)[0]
        if count > 1:
            raise InvalidInputFileError(
                f"{position}: {count} columns are called {name!r}.", hint="Give each column a name of its own."
            )
        return self.columns(names, position), True


def pair_columns(names: list[str], position: str) -> list[str]:
    """Return the columns of pairs, with the names `query` and `document`.

    Args:
        names: names in the header, such as `question` and `answer`.
        position: position of the header, for messages.

    Raises:
        InvalidInputFileError: no column is the query, or none the document.
    """
    renamed = list(names)
    for role, known in (("query", QUERY_NAMES), ("document", DOCUMENT_NAMES)):
        if role in renamed:
            continue
        matches = [number for number, name in enumerate(names) if name.lower() in known]
        if len(matches) != 1:
            raise InvalidInputFileError(
                f"{position}: no column {role!r} (columns: {', '.join(names)[:200]}).",
                hint="Name the columns 'query' and 'document' in the first row.",
            )
        renamed[matches[0]] = role
    return renamed


class _Reader(Protocol):
    """What `csv.reader` returns."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> Iterator[list[str]]: ...


def _is_pair_header(row: list[str]) -> bool:
    """Return True if a row of tsv names the columns of pairs."""
    names = {name.strip().lower() for name in row}
    if len(row) == 2:
        return bool(names & QUERY_NAMES) and bool(names & DOCUMENT_NAMES)
    return {"query", "document"} <= names


def _checked_separator(separator: str | None) -> str | None:
    if separator is None:
        return None
    if separator.upper() in ("TAB", "\\T"):
        return TAB
    if len(separator) != 1 or separator in '"\r\n':
        raise InvalidRequestError(f"The separator is {separator!r}.", hint="Pass one character, such as ';', or TAB.")
    return separator


def _reader(text: str, separator: str) -> _Reader:
    csv.field_size_limit(2**31 - 1)
    stream = io.StringIO(text, newline="")
    if separator == TAB:  # in tab-separated files quotes are ordinary characters
        return csv.reader(stream, delimiter=TAB, quoting=csv.QUOTE_NONE, strict=True)
    return csv.reader(stream, delimiter=separator, strict=True)
