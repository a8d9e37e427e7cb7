"""Lists of traces in pages: filtered, sorted, and continued from the last row that was shown (keyset paging).

A page costs the same wherever it is, since nothing before it is counted or skipped. The rows are found in an index that
holds all that they are filtered and sorted by, and only those of the page are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Select, and_, or_, select, text
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from rerankd.database import tables
from rerankd.errors import InvalidRequestError
from rerankd.traces.store import TRACE_COLUMNS, TraceFilter, TraceStore
from rerankd.traces.trace import Trace

Order = Literal["newest", "oldest", "moved", "margin", "slowest"]
ORDERS: tuple[Order, ...] = get_args(Order)
_COLUMNS = {"newest": "time", "oldest": "time", "moved": "promotion", "margin": "margin", "slowest": "total_ms"}
_ASCENDING = frozenset({"oldest", "margin"})
MAX_CURSOR = 60
# The default, 4, is of spinning disks: rows of all traces would be read although an index holds all that is asked for.
_PREFER_INDEXES = text("SET LOCAL random_page_cost = 1.1")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list: the row that a page starts after, or ends before.

    Attributes:
        value: value of that row in the column that the list is sorted by.
        id: number of that trace.
        backward: True for the page that ends before it.
    """

    value: float
    id: int
    backward: bool = False

    @classmethod
    def parse(cls, name: str) -> Cursor:
        """Return the cursor with a name: what `str` returns.

        Raises:
            InvalidRequestError: no cursor has this name.

        Example:
            >>> Cursor.parse("-0.5:17")
            Cursor(value=-0.5, id=17, backward=False)
        """
        backward = name.startswith("before:")
        value, _, number = name[:MAX_CURSOR].removeprefix("before:").partition(":")
        try:
            cursor = cls(float(value), int(number), backward)
        except ValueError:
            cursor = cls(float("nan"), 0)
        if cursor.value != cursor.value or not 0 <= cursor.id < 2**63 or str(cursor) != name:
            raise InvalidRequestError("The page of the list cannot be found.", hint="Start at its first page.")
        return cursor

    def __str__(self) -> str:
        return f"{'before:' if self.backward else ''}{self.value!r}:{self.id}"


@dataclass(frozen=True, slots=True)
class TracePage:
    """A page of a list.

    Attributes:
        traces: its traces.
        previous: cursor of the page before; None on the first page.
        next: cursor of the page after; None on the last page.
    """

    traces: Sequence[Trace]
    previous: Cursor | None
    next: Cursor | None


def read_page(
    store: TraceStore,
    where: TraceFilter | None = None,
    *,
    order: Order = "newest",
    cursor: Cursor | None = None,
    limit: int = 50,
) -> TracePage:
    """Return a page of traces.

    Args:
        store: store of the traces.
        where: conditions; None for all traces.
        order: `newest` or `oldest` first; `moved`: those whose first documents rose most; `margin`: those with the
            smallest margin between rank 1 and rank 2; `slowest`. Traces without the value are left out.
        cursor: place in the list; None for its start.
        limit: traces of a page.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    ids = page_query(where or TraceFilter(), order, cursor, limit + 1)
    column = _column(order)
    query = select(*TRACE_COLUMNS).where(tables.trace.c.id.in_(ids))
    with store.connect() as connection:
        if not store.is_sqlite:
            connection.execute(_PREFER_INDEXES)
        traces = [Trace(*row) for row in connection.execute(query)]
    traces.sort(key=lambda trace: (getattr(trace, column.name), trace.id), reverse=order not in _ASCENDING)
    has_more = len(traces) > limit
    backward = cursor is not None and cursor.backward
    traces = traces[-limit:] if backward else traces[:limit]

    def at(trace: Trace, *, backward: bool) -> Cursor:
        return Cursor(float(getattr(trace, column.name)), trace.id, backward)

    return TracePage(
        traces=traces,
        previous=at(traces[0], backward=True) if traces and (has_more if backward else cursor is not None) else None,
        next=at(traces[-1], backward=False) if traces and (backward or has_more) else None,
    )


def page_query(where: TraceFilter, order: Order, cursor: Cursor | None, limit: int) -> Select[Any]:
    """Return the query for the numbers of a page's traces, which an index answers alone."""
    number, ascending = tables.trace.c.id, (order in _ASCENDING) != (cursor is not None and cursor.backward)
    key = _key(where, order)
    query = where.apply(select(number)).where(key.is_not(None))
    if cursor is not None:
        query = query.where(_beyond(key, cursor, ascending=ascending))
    keys = (key.asc(), number.asc()) if ascending else (key.desc(), number.desc())
    return query.order_by(*keys).limit(limit)


def _column(order: Order) -> ColumnElement[float]:
    return tables.trace.c[_COLUMNS[order]]


def _key(where: TraceFilter, order: Order) -> ColumnElement[float]:
    """Return what a list is sorted by.

    With conditions, and in another order than that of time, the plus keeps the database from its index of that order:
    walking along it might read every row to find a few. The index of all that is listed is read instead, and sorted.
    """
    column = _column(order)
    if where == TraceFilter() or column is tables.trace.c.time:
        return column
    return UnaryExpression(column, operator=custom_op("+"), type_=column.type)


def _beyond(key: ColumnElement[float], cursor: Cursor, *, ascending: bool) -> ColumnElement[bool]:
    """Return the condition that a row comes after the cursor's; its first part is what an index is searched with."""
    number = tables.trace.c.id
    if ascending:
        return and_(key >= cursor.value, or_(key > cursor.value, number > cursor.id))
    return and_(key <= cursor.value, or_(key < cursor.value, number < cursor.id))
