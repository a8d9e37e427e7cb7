"""Rows of the input: queries with candidates, or pairs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rerankd._common.plural import counted
from rerankd._common.validation import to_documents, to_query
from rerankd.engine.request import QueryGroup
from rerankd.errors import InvalidRequestError
from rerankd.jobs.bulk.chunk import RowError
from rerankd.types import Document

RowKind = Literal["queries", "pairs"]
RowId = str | int | None
_HINT = "Write rows with 'query' and 'documents', or rows with 'query' and 'document'."


@dataclass(frozen=True, slots=True)
class InputRow:
    """Row that can be scored.

    Attributes:
        index: position in the input, from 0.
        line: line (of JSON lines) or row (of Parquet) in the file, from 1.
        id: ID from the input; None if there is none.
        query: text of the query.
        documents: candidates; one document if the row is a pair.
        top_n: documents to keep; None for the setting of the run.
        fields: all fields of the row if they are copied to the output, else empty.
    """

    index: int
    line: int
    id: RowId
    query: str
    documents: tuple[Document, ...]
    top_n: int | None
    fields: Mapping[str, Any]

    @property
    def group(self) -> QueryGroup:
        """Query and the texts of its documents."""
        return self.query, tuple(document.text for document in self.documents)

    @property
    def characters(self) -> int:
        """Total length of the texts."""
        return len(self.query) + sum(len(document.text) for document in self.documents)


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """Row that cannot be scored, with the error."""

    index: int
    line: int
    id: RowId
    error: RowError
    fields: Mapping[str, Any]


def row_kind(content: object) -> RowKind | None:
    """Return the kind of a row; None if it is neither.

    Example:
        >>> row_kind({"query": "panda?", "documents": ["a bear"]})
        'queries'
    """
    if not isinstance(content, Mapping) or "query" not in content:
        return None
    if "documents" in content:
        return "queries"
    return "pairs" if "document" in content or "text" in content else None


def parse_row(
    content: object, kind: RowKind, index: int, line: int, *, max_documents: int, keep_fields: bool
) -> InputRow:
    """Validate a row.

    Raises:
        InvalidRequestError: the row is invalid, or of another kind; the message says what is wrong.

    Example:
        >>> row = parse_row({"query": "q", "text": "d"}, "pairs", 0, 1, max_documents=10, keep_fields=False)
        >>> row.group
        ('q', ('d',))
    """
    if not isinstance(content, Mapping):
        raise InvalidRequestError(f"A {type(content).__name__}, not an object.", hint=_HINT)
    if row_kind(content) != kind:
        expected = "a query with 'documents'" if kind == "queries" else "a pair of 'query' and 'document'"
        raise InvalidRequestError(f"This is not {expected}, as the rows before it.", hint=_HINT)
    query = to_query(content["query"])
    if kind == "queries":
        documents = to_documents(content["documents"])
    else:
        documents = to_documents([content["document"] if "document" in content else content["text"]])
    if len(documents) > max_documents:
        raise InvalidRequestError(
            f"{counted(len(documents), 'document')}, more than {max_documents:,}.",
            hint="Raise it with RERANKD_MAX_DOCUMENTS, or split the row.",
        )
    return InputRow(
        index,
        line,
        row_id(content, strict=True),
        query,
        tuple(documents),
        _top_n(content.get("top_n")),
        content if keep_fields else {},
    )


def row_id(content: object, *, strict: bool = False) -> RowId:
    """Return the `id` of a row; None if it has no usable one.

    Raises:
        InvalidRequestError: with `strict`, an `id` that is neither a string nor an integer.
    """
    value = content.get("id") if isinstance(content, Mapping) else None
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    if strict:
        raise InvalidRequestError(
            f"The id is of type {type(value).__name__}.", hint="An id must be a string or an integer."
        )
    return None


def _top_n(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise InvalidRequestError(f"top_n is {value!r}.", hint="top_n must be an integer of at least 1.")
