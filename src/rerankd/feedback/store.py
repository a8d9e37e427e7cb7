"""Feedback in the database, joined with traces when it is read.

An event may arrive before its trace is written, so every event is stored; retention deletes those that nobody traced
after a day. An event on a document that the ranking does not have is refused, or deleted when its trace arrives. Events
are joined with traces of the same tenant only: feedback of one API key on another key's request has
no effect, and reveals nothing about that request.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ScalarSelect, and_, delete, func, insert, select, tuple_

from rerankd._common.logging import logger
from rerankd._common.plural import counted
from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.database.errors import translate_errors
from rerankd.errors import InvalidRequestError
from rerankd.feedback.events import FeedbackEvent, validate_event
from rerankd.traces.marks import refresh_marks
from rerankd.traces.store import TRACE_COLUMNS, TraceFilter, TraceStore
from rerankd.traces.trace import Trace

_log = logger(__name__)
SOURCES = ("api", "csv")
BATCH_SIZE = 1000


@dataclass(frozen=True, slots=True)
class TracedFeedback:
    """A feedback event with the trace of its request; None until that is written."""

    feedback: FeedbackEvent
    trace: Trace | None


def add_feedback(store: TraceStore, events: Sequence[FeedbackEvent]) -> int:
    """Insert events in one transaction: all or none.

    Returns:
        Number of events whose request was traced already; the others are joined when their trace arrives.

    Raises:
        InvalidRequestError: `validate_event` rejects an event, or a traced ranking does not have its document.
        UnavailableError: the database cannot be reached.
    """
    now = time.time()
    rows = [_row(validate_event(event), now) for event in events]
    if not rows:
        return 0
    documents = _document_counts(store, {event.request_id for event in events})
    for event in events:
        _check_index(event, documents.get((event.tenant, event.request_id)))
    with translate_errors(), store.begin() as connection:
        connection.execute(insert(tables.feedback), rows)
        refresh_marks(connection, {(event.tenant, event.request_id) for event in events})
    return sum((event.tenant, event.request_id) in documents for event in events)


def _document_counts(store: TraceStore, request_ids: Collection[str]) -> dict[tuple[str, str], int]:
    """Return the number of documents of the newest ranking with each tenant and request id."""
    counts: dict[tuple[str, str], int] = {}
    columns = tables.trace.c
    with store.connect() as connection:
        for batch in batched(sorted(request_ids)):
            query = select(columns.tenant, columns.request_id, columns.documents).where(columns.request_id.in_(batch))
            for tenant, request_id, documents in connection.execute(query.order_by(columns.time)):
                counts[tenant, request_id] = documents
    return counts


def _check_index(event: FeedbackEvent, documents: int | None) -> None:
    if documents is not None and event.index is not None and event.index >= documents:
        raise InvalidRequestError(
            f"index is {event.index}, but the ranking {event.request_id!r} has {counted(documents, 'document')}.",
            hint="Documents of a request are counted from 0.",
        )


def drop_impossible_feedback(store: TraceStore, since: float) -> int:
    """Delete feedback on documents that its ranking turned out not to have: it came before its trace was written.

    Args:
        store: store of the events and traces.
        since: time of the oldest event that is looked at, in seconds since 1970.

    Returns:
        Number of deleted events, which is logged too.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    feedback, trace = tables.feedback.c, tables.trace.c
    query = (
        select(feedback.id, feedback.tenant, feedback.request_id)
        .join_from(tables.feedback, tables.trace, trace.id == _newest_trace())
        .where(feedback.time >= since, feedback.position >= trace.documents)
    )
    with store.connect() as connection:
        rows = connection.execute(query).all()
    for batch in batched(rows):
        with translate_errors(), store.begin() as connection:
            connection.execute(delete(tables.feedback).where(feedback.id.in_([row.id for row in batch])))
            refresh_marks(connection, {(row.tenant, row.request_id) for row in batch})
    if rows:
        _log.warning(
            "%s dropped: the ranking does not have the document",
            counted(len(rows), "item of feedback was", "items of feedback were"),
        )
    return len(rows)


def mark_feedback(store: TraceStore, since: float) -> None:
    """Mark the traces of recent feedback: a trace that was written at the same moment may have missed it.

    Args:
        store: store of the events and traces.
        since: time of the oldest event that is looked at, in seconds since 1970.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    columns = tables.feedback.c
    query = select(columns.tenant, columns.request_id).where(columns.time >= since).distinct()
    with store.connect() as connection:
        rankings = [(tenant, request_id) for tenant, request_id in connection.execute(query)]
    for batch in batched(rankings):
        with translate_errors(), store.begin() as connection:
            refresh_marks(connection, batch)


def import_feedback(store: TraceStore, events: Iterable[FeedbackEvent]) -> tuple[int, int]:
    """Insert events in batches of a thousand.

    Returns:
        Number of events, and of those whose request was traced already.

    Raises:
        InvalidRequestError: `add_feedback` rejects an event; earlier batches are stored.
        UnavailableError: the database cannot be reached.
    """
    count = traced = 0
    batch: list[FeedbackEvent] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH_SIZE:
            traced += add_feedback(store, batch)
            count, batch = count + len(batch), []
    return count + len(batch), traced + add_feedback(store, batch)


def read_feedback(store: TraceStore, where: TraceFilter | None = None, *, limit: int = 1000) -> list[TracedFeedback]:
    """Return events, the newest first, each with the newest trace of its request and tenant.

    Args:
        store: store of the events and traces.
        where: conditions on the events; `model` is a condition on the trace.
        limit: events at most.
    """
    feedback, trace = tables.feedback.c, tables.trace.c
    query = select(tables.feedback, *TRACE_COLUMNS).select_from(
        tables.feedback.outerjoin(tables.trace, trace.id == _newest_trace())
    )
    where = where or TraceFilter()
    conditions = [
        None if where.tenant is None else feedback.tenant == where.tenant,
        None if where.request_id is None else feedback.request_id == where.request_id,
        None if where.model is None else trace.model == where.model,
        None if where.since is None else feedback.time >= where.since,
        None if where.until is None else feedback.time < where.until,
    ]
    query = query.where(and_(True, *(condition for condition in conditions if condition is not None)))
    with store.connect() as connection:
        rows = connection.execute(query.order_by(feedback.time.desc(), feedback.id.desc()).limit(limit)).all()
    size = len(feedback)
    return [TracedFeedback(_event(row[:size]), Trace(*row[size:]) if row[size] is not None else None) for row in rows]


def _newest_trace() -> ScalarSelect[int]:
    """Return the query for the newest trace of an event's request and tenant."""
    feedback, trace = tables.feedback.c, tables.trace.c
    return (
        select(trace.id)
        .where(trace.request_id == feedback.request_id, trace.tenant == feedback.tenant)
        .order_by(trace.time.desc())
        .limit(1)
        .correlate(tables.feedback)
        .scalar_subquery()
    )


def feedback_on(store: TraceStore, trace: Trace) -> list[FeedbackEvent]:
    """Return the events on a trace, the oldest first."""
    if not trace.request_id:
        return []
    newest_first = read_feedback(store, TraceFilter(tenant=trace.tenant, request_id=trace.request_id))
    return [traced.feedback for traced in reversed(newest_first)]


def count_feedback(store: TraceStore, traces: Sequence[Trace]) -> dict[int, int]:
    """Return the number of events on traces, by number of the trace; traces without any are missing."""
    columns = tables.feedback.c
    keys = tuple_(columns.request_id, columns.tenant)
    counts: dict[tuple[str, str], int] = {}
    with store.connect() as connection:
        for batch in batched(sorted({(trace.request_id, trace.tenant) for trace in traces if trace.request_id})):
            query = select(columns.request_id, columns.tenant, func.count()).where(keys.in_(batch))
            for request_id, tenant, count in connection.execute(query.group_by(columns.request_id, columns.tenant)):
                counts[request_id, tenant] = count
    found = {trace.id: counts.get((trace.request_id, trace.tenant), 0) for trace in traces}
    return {number: count for number, count in found.items() if count}


def _row(event: FeedbackEvent, now: float) -> dict[str, object]:
    return {
        "time": event.time or now,
        "tenant": event.tenant,
        "request_id": event.request_id,
        "kind": event.kind,
        "position": event.index,
        "document": event.document_id,
        "value": float(event.value),
        "source": SOURCES.index(event.source),
    }


def _event(row: Sequence[object]) -> FeedbackEvent:
    values = dict(zip((column.name for column in tables.feedback.c), row, strict=True))
    return FeedbackEvent(
        request_id=str(values["request_id"]),
        kind=values["kind"],  # type: ignore[arg-type]  # validated when it was written
        index=values["position"],  # type: ignore[arg-type]
        document_id=values["document"],  # type: ignore[arg-type]
        value=float(str(values["value"])),
        time=float(str(values["time"])),
        tenant=str(values["tenant"]),
        source=SOURCES[int(str(values["source"]))],
    )
