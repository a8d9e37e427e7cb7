"""Pruning by size: whose data give way when the database is larger than its limit.

Feedback without a ranking goes first. Then tenants share what is left equally (max-min fairness): those that take more
than their share lose their oldest traces, and those that take less lose nothing, however much the others write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, func, select

from rerankd.database import tables
from rerankd.feedback.deletion import delete_texts, delete_traces, in_use, row_count, texts_of

KEPT = 0.9  # of the limit, after pruning: each time all candidates are read to find texts that nothing refers to
MAX_TRACES = 20_000
PATIENCE = 60.0  # seconds within which the trace of a request is written, and often before its feedback
TRACE_BYTES = 900  # of a trace beside its texts and candidates
EVENT_BYTES = 150  # of an event beside its ids
LABEL_BYTES = 100


@dataclass(frozen=True, slots=True)
class Reduction:
    """Numbers of deleted traces, texts and feedback events."""

    traces: int = 0
    texts: int = 0
    feedback: int = 0


def usage_by_tenant(connection: Connection) -> dict[str, int]:
    """Return the bytes of traces, with their texts as if they shared none, of feedback, cases and labels, by tenant."""
    trace, feedback, case = tables.trace.c, tables.feedback.c, tables.bad_case.c
    traces = select(trace.tenant, func.sum(trace.bytes + TRACE_BYTES)).group_by(trace.tenant)
    event = func.length(feedback.request_id) + func.coalesce(func.length(feedback.document), 0) + EVENT_BYTES
    events = select(feedback.tenant, func.sum(event)).group_by(feedback.tenant)
    cases = select(case.tenant, func.sum(func.length(case.data))).group_by(case.tenant)
    labels = select(case.tenant, func.count() * LABEL_BYTES).join(tables.label, tables.label.c.case_id == case.id)
    usage: dict[str, int] = {}
    for query in (traces, events, cases, labels.group_by(case.tenant)):
        for tenant, size in connection.execute(query):
            usage[tenant] = usage.get(tenant, 0) + int(size)
    return usage


def fair_share(usage: Mapping[str, int], capacity: float) -> float:
    """Return the most that one tenant may take, so that together they take no more than `capacity`.

    Example:
        >>> fair_share({"a": 10, "b": 100, "c": 1000}, 210)
        100.0
    """
    left, remaining = capacity, sorted(usage.values())
    while remaining and remaining[0] <= left / len(remaining):
        left -= remaining.pop(0)
    return left / len(remaining) if remaining else capacity


def reduce_size(connection: Connection, share: float, now: float) -> Reduction:
    """Delete what exceeds a share of the present size, at most `MAX_TRACES` traces; writers must be blocked.

    Args:
        connection: connection of the transaction.
        share: share of the present size to keep, 0 to 1.
        now: seconds since 1970.
    """
    if waiting := _delete_untraced(connection, until=now - PATIENCE):
        return Reduction(feedback=waiting)  # it may be enough
    usage = usage_by_tenant(connection)
    limit = fair_share(usage, share * KEPT * sum(usage.values()))
    events, traces = 0, list[int]()
    for tenant in sorted(usage, key=lambda name: -usage[name]):
        excess = usage[tenant] - limit
        if excess > 0:
            deleted = _delete_untraced(connection, tenant=tenant)
            events += deleted
            traces += _oldest(connection, tenant, excess - deleted * EVENT_BYTES, MAX_TRACES - len(traces))
    texts = texts_of(connection, traces)
    delete_traces(connection, traces)
    return Reduction(len(traces), delete_texts(connection, texts - in_use(connection, texts)), events)


def _oldest(connection: Connection, tenant: str, excess: float, most: int) -> list[int]:
    """Return a tenant's oldest traces whose bytes add up to the excess."""
    columns, numbers = tables.trace.c, list[int]()
    query = select(columns.id, columns.bytes).where(columns.tenant == tenant).order_by(columns.time, columns.id)
    for number, size in connection.execute(query.limit(most)):
        if excess <= 0:
            break
        numbers.append(number)
        excess -= size + TRACE_BYTES
    return numbers


def _delete_untraced(connection: Connection, *, tenant: str | None = None, until: float | None = None) -> int:
    """Delete feedback whose request has no trace."""
    columns, trace = tables.feedback.c, tables.trace.c
    same_request = and_(trace.request_id == columns.request_id, trace.tenant == columns.tenant)
    statement = delete(tables.feedback).where(~select(trace.id).where(same_request).exists())
    if tenant is not None:
        statement = statement.where(columns.tenant == tenant)
    if until is not None:
        statement = statement.where(columns.time < until)
    return row_count(connection, statement)
