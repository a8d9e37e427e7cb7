"""The queue of what to label next: bad cases, the most severe first, then rankings with the lowest margin."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Select, String, and_, case, cast, delete, func, literal, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from rerankd.database import tables
from rerankd.database.errors import translate_errors
from rerankd.errors import InvalidRequestError
from rerankd.feedback.case_store import CaseFilter, select_cases
from rerankd.feedback.cases import BadCase
from rerankd.feedback.label_store import is_present
from rerankd.feedback.labels import validate_labeller
from rerankd.traces.store import TRACE_COLUMNS, TraceFilter, TraceStore
from rerankd.traces.trace import Trace

Queue = Literal["new", "second"]
QUEUES: tuple[Queue, ...] = get_args(Queue)
MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """A place in the queue: the case or the trace that was opened last; None for its beginning.

    Attributes:
        case: number of a case.
        trace: number of a trace; the cases are behind.
    """

    case: int | None = None
    trace: int | None = None


@dataclass(frozen=True, slots=True)
class SkippedRanking:
    """A ranking that a labeller does not want to be brought.

    Attributes:
        tenant: its tenant.
        request_id: id of its request, or `#` and the number of a trace without one.
        time: when it was skipped, seconds since 1970.
        reason: why.
    """

    tenant: str
    request_id: str
    time: float
    reason: str


def queued_cases(
    store: TraceStore,
    labeller: str,
    tenant: str | None = None,
    *,
    queue: Queue = "new",
    after: QueuePosition | None = None,
    limit: int = 20,
) -> list[BadCase]:
    """Return the next cases, by descending severity.

    Args:
        store: store of the cases.
        labeller: who labels; cases that they skipped are left out.
        tenant: tenant whose cases are brought; None for all.
        queue: `new` for open cases; `second` for cases with a label of somebody else and none of the labeller, so that
            two people label the same documents.
        after: place in the queue; None for its beginning.
        limit: cases at most.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    columns = tables.bad_case.c
    query = (
        CaseFilter(tenant)
        .apply(select(tables.bad_case))
        .where(~_is_skipped(labeller, columns.tenant, columns.request_id))
    )
    if queue == "new":
        query = query.where(columns.state == "open")
    else:
        name = tables.label.c.labeller
        query = query.where(_has_label(name != labeller), ~_has_label(name == labeller))
    if after is not None and after.trace is not None:
        return []
    if after is not None and after.case is not None:
        # Of a case that is gone nobody knows the place: the queue begins again.
        severity = select(columns.severity).where(columns.id == after.case).scalar_subquery()
        last = func.coalesce(severity, sys.float_info.max)
        query = query.where(or_(columns.severity < last, and_(columns.severity == last, columns.id < after.case)))
    return select_cases(store, query.order_by(columns.severity.desc(), columns.id.desc()).limit(limit))


def queued_traces(
    store: TraceStore,
    labeller: str,
    tenant: str | None = None,
    *,
    after: QueuePosition | None = None,
    limit: int = 20,
) -> list[Trace]:
    """Return the rankings with the lowest margin that are no case and that nobody labelled.

    Of a ranking that was repeated, with the same query and margin, the first is brought, and none of the others.

    Args:
        store: store of the traces.
        labeller: who labels; rankings that they skipped are left out.
        tenant: tenant whose rankings are brought; None for all.
        after: place in the queue; None for its beginning.
        limit: rankings at most.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    columns = tables.trace.c
    request_id = _ranking_id()
    known = tables.bad_case.c
    is_case = select(known.id).where(known.tenant == columns.tenant, known.request_id == request_id).exists()
    query = TraceFilter(tenant=tenant).apply(select(columns.id)).where(columns.margin >= 0, ~is_case)
    query = query.where(~_is_repetition())
    query = query.where(~_is_skipped(labeller, columns.tenant, request_id))
    if after is not None and after.trace is not None:
        last = func.coalesce(select(columns.margin).where(columns.id == after.trace).scalar_subquery(), -1.0)
        query = query.where(or_(columns.margin > last, and_(columns.margin == last, columns.id > after.trace)))
    numbers = query.order_by(columns.margin, columns.id).limit(limit)
    rows = select(*TRACE_COLUMNS).where(columns.id.in_(numbers)).order_by(columns.margin, columns.id)
    with store.connect() as connection:
        return [Trace(*row) for row in connection.execute(rows)]


def skip_ranking(store: TraceStore, tenant: str, request_id: str, labeller: str, reason: str) -> None:
    """Leave a ranking out of a labeller's queue.

    Args:
        store: store of the queue.
        tenant: tenant of the ranking.
        request_id: id of its request, or `labelling.own_id` for a trace without one.
        labeller: who skips it.
        reason: why.

    Raises:
        InvalidRequestError: the reason is empty or too long, or the labeller's name is not valid.
        UnavailableError: the database cannot be reached.
    """
    reason = reason.strip()
    if not reason or len(reason) > MAX_REASON or "\0" in reason:
        raise InvalidRequestError(
            f"The reason is empty, longer than {MAX_REASON} characters, or contains a NUL character.",
            hint="Say in a few words why it cannot be labelled.",
        )
    insert = sqlite.insert if store.is_sqlite else postgresql.insert
    key = {"tenant": tenant, "request_id": request_id, "labeller": validate_labeller(labeller)}
    values = {"time": time.time(), "reason": reason}
    statement = insert(tables.label_skip).values(**key, **values)
    with translate_errors(), store.begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=values))


def unskip_ranking(store: TraceStore, tenant: str, request_id: str, labeller: str) -> None:
    """Bring a ranking again that a labeller skipped.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    columns = tables.label_skip.c
    of_ranking = and_(columns.tenant == tenant, columns.request_id == request_id, columns.labeller == labeller)
    with translate_errors(), store.begin() as connection:
        connection.execute(delete(tables.label_skip).where(of_ranking))


def skipped_rankings(
    store: TraceStore, labeller: str, tenant: str | None = None, *, limit: int = 20
) -> list[SkippedRanking]:
    """Return what a labeller skipped, the newest first.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    columns = tables.label_skip.c
    query = select(columns.tenant, columns.request_id, columns.time, columns.reason).where(columns.labeller == labeller)
    if tenant is not None:
        query = query.where(columns.tenant == tenant)
    with store.connect() as connection:
        rows = connection.execute(query.order_by(columns.time.desc()).limit(limit))
        return [SkippedRanking(*row) for row in rows]


def recent_cases(store: TraceStore, labeller: str, tenant: str | None = None, *, limit: int = 10) -> list[BadCase]:
    """Return the cases that a labeller labelled last, the newest first.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    columns, label = tables.bad_case.c, tables.label.c
    newest = (
        select(label.case_id, label.id)
        .where(label.labeller == labeller, is_present())
        .order_by(label.id.desc())
        .limit(limit * 20)
    )
    with store.connect() as connection:
        numbers = list(dict.fromkeys(row.case_id for row in connection.execute(newest)))[:limit]
    cases = select_cases(store, CaseFilter(tenant).apply(select(tables.bad_case)).where(columns.id.in_(numbers)))
    return sorted(cases, key=lambda each: numbers.index(each.id))


def _ranking_id() -> ColumnElement[str]:
    """Return the SQL of the id under which a trace becomes a case (`labelling.own_id` where it has no request id)."""
    columns = tables.trace.c
    own = literal("#") + cast(columns.id, String)
    return case((columns.request_id == "", own), else_=columns.request_id)


def _is_repetition() -> ColumnElement[bool]:
    columns, first = tables.trace.c, tables.trace.alias()
    same = (first.c.margin == columns.margin, first.c.query == columns.query, first.c.tenant == columns.tenant)
    return select(first.c.id).where(*same, first.c.id < columns.id).correlate(tables.trace).exists()


def _is_skipped(labeller: str, tenant: ColumnElement[str], request_id: ColumnElement[str]) -> ColumnElement[bool]:
    skip = tables.label_skip.c
    of_ranking = and_(skip.tenant == tenant, skip.request_id == request_id, skip.labeller == labeller)
    return select(skip.labeller).where(of_ranking).exists()


def _has_label(labeller: ColumnElement[bool]) -> ColumnElement[bool]:
    label = tables.label.c
    query: Select[Any] = select(label.id).where(label.case_id == tables.bad_case.c.id, is_present(), labeller)
    return query.exists()
