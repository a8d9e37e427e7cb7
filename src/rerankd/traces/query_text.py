"""Search in queries: their texts are kept once more, folded, in a table that one scan reads in milliseconds.

A scan finds any part of a word in any language, Chinese words of two characters among them, which indexes of trigrams
do not; a hundred thousand queries take some tens of milliseconds. Documents are not searched: there are many more of
them, and most are stored compressed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Connection, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from rerankd.database import tables
from rerankd.database.connection import batched

MAX_CHARACTERS = 1000
MAX_WORDS = 8


def fold(text: str) -> str:
    """Return the first thousand characters of a text without differences of case, width and white space.

    Example:
        >>> fold("  What EATS\\nＢａｍｂｏｏ？")
        'what eats bamboo?'
    """
    folded = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).casefold()
    return " ".join(folded.replace("\0", " ").encode("utf-8", "replace").decode().split())


def save_queries(connection: Connection, texts: Mapping[int, bytes]) -> None:
    """Insert the queries that the table lacks.

    Args:
        connection: connection of a transaction that holds the row of `trace_store`.
        texts: queries by number, as they are stored.
    """
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    rows = [{"id": number, "text": fold(text.decode("utf-8", "surrogatepass"))} for number, text in texts.items()]
    for batch in batched(rows):
        connection.execute(insert(tables.query_text).on_conflict_do_nothing(), list(batch))


def contains(search: str) -> ColumnElement[bool] | None:
    """Return the condition on `trace` that its query holds all words of a search; None for a search without words."""
    words = list(dict.fromkeys(fold(search).split()))[:MAX_WORDS]
    if not words:
        return None
    columns = tables.query_text.c
    matching = select(columns.id).where(*(_Holds(columns.text, word) for word in words)).cte("matching")
    # One scan, before the traces are read: otherwise PostgreSQL looks up the query of one trace after the other.
    return tables.trace.c.query.in_(select(matching.prefix_with("MATERIALIZED", dialect="postgresql").c.id))


class _Holds(FunctionElement[bool]):
    """Condition that a text holds another one."""

    type = Boolean()
    inherit_cache = True
    name = "holds"


@compiles(_Holds, "sqlite")
def _holds_sqlite(element: _Holds, compiler: Any, **named: Any) -> str:
    return f"instr({compiler.process(element.clauses, **named)}) > 0"


@compiles(_Holds, "postgresql")
def _holds_postgresql(element: _Holds, compiler: Any, **named: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **named)}) > 0"
