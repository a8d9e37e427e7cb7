"""Judgements of each ranking by its feedback, kept in the database: chosen or rejected, and reciprocal ranks.

A ranking is judged by all of its feedback together, and again when more arrives. New events are found by their numbers,
which PostgreSQL may commit out of order, and an event may arrive before its trace: each event is looked at once more,
`SETTLED_SECONDS` later. `activity_state` holds the number of the last event that was seen, of the last that will be
looked at again next, and of the last that is settled.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select, tuple_, update

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.database.errors import translate_errors
from rerankd.feedback.activity_summaries import MAX_NAME, MINUTE
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.judgements import judge
from rerankd.traces.packing import unpack
from rerankd.traces.store import TraceStore

SETTLED_SECONDS = 120.0  # transactions that write feedback, and traces, have committed by then
SETTLED_BATCHES = 10
BATCH_SIZE = 300


def refresh_judged_rankings(store: TraceStore, *, seconds: float = float("inf"), now: float | None = None) -> bool:
    """Judge the rankings that have feedback that is new since the last call, by whichever instance.

    Args:
        store: store of traces and feedback.
        seconds: time after which no further batch is begun.
        now: seconds since 1970; None for the current time.

    Returns:
        True if there are more; what is looked at again, some batches at each call, does not count.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    now, deadline = time.time() if now is None else now, time.monotonic() + seconds
    columns = tables.activity_state.c
    with store.connect() as connection:
        state = connection.execute(select(tables.activity_state)).one()
    seen, is_done = state.feedback_seen, False
    while not is_done and time.monotonic() <= deadline:
        count, seen = _judge_events(store, seen, None)
        is_done = count < BATCH_SIZE
    if seen > state.feedback_seen:
        _update_state(store, columns.feedback_seen < seen, feedback_seen=seen)
    if is_done and now - state.feedback_time >= SETTLED_SECONDS:
        settled, is_settled = state.feedback_settled, False
        for _ in range(SETTLED_BATCHES):
            if not is_settled and time.monotonic() <= deadline:
                count, settled = _judge_events(store, settled, state.feedback_marked)
                is_settled = count < BATCH_SIZE
        values = {"feedback_marked": seen, "feedback_time": now} if is_settled else {}
        is_unchanged = columns.feedback_time == state.feedback_time
        _update_state(store, is_unchanged, feedback_settled=settled, **values)
    return not is_done


def _update_state(store: TraceStore, condition: ColumnElement[bool], **values: float) -> None:
    with translate_errors(), store.begin() as connection:
        connection.execute(update(tables.activity_state).where(condition).values(values))


def _judge_events(store: TraceStore, after: int, until: int | None) -> tuple[int, int]:
    """Judge the rankings of the next events after a number.

    Returns:
        How many events there were, at most `BATCH_SIZE`, and the number of the last.
    """
    columns = tables.feedback.c
    query = select(columns.id, columns.request_id, columns.tenant).where(columns.id > after)
    if until is not None:
        query = query.where(columns.id <= until)
    with store.connect() as connection:
        rows = connection.execute(query.order_by(columns.id).limit(BATCH_SIZE)).all()
    if rows:
        requests = sorted({(row.request_id, row.tenant) for row in rows})
        with translate_errors(), store.begin() as connection:
            _lock(connection)
            _judge(connection, requests)
    return len(rows), rows[-1].id if rows else after


def _lock(connection: Connection) -> None:
    """Let one instance at a time judge, and none while a tenant is erased."""
    connection.execute(select(tables.activity_state.c.id).with_for_update())
    connection.execute(select(tables.store.c.id).with_for_update(read=True))


def _judge(connection: Connection, requests: Sequence[tuple[str, str]]) -> None:
    """Write what the feedback on requests says."""
    trace, feedback, judged = tables.trace.c, tables.feedback.c, tables.judged_ranking
    columns = (trace.id, trace.time, trace.tenant, trace.model, trace.request_id, tables.candidates.c.data)
    query = select(*columns).join_from(tables.trace, tables.candidates, tables.candidates.c.trace == trace.id)
    query = query.where(tuple_(trace.request_id, trace.tenant).in_(requests)).order_by(trace.time)
    newest = {(row.request_id, row.tenant): row for row in connection.execute(query)}
    events: dict[tuple[str, str], list[FeedbackEvent]] = defaultdict(list)
    is_asked = tuple_(feedback.request_id, feedback.tenant).in_(requests)
    for row in connection.execute(select(tables.feedback).where(is_asked).order_by(feedback.time, feedback.id)):
        event = FeedbackEvent(row.request_id, row.kind, row.position, row.document, row.value, row.time)
        events[row.request_id, row.tenant].append(event)
    rows = [made for request, row in newest.items() if (made := _row(row, events[request])) is not None]
    numbers = [row.id for row in newest.values()]
    for batch in batched(numbers):
        connection.execute(delete(judged).where(judged.c.trace.in_(batch)))
    if rows:
        connection.execute(insert(judged), rows)


def _row(trace: Any, events: Sequence[FeedbackEvent]) -> dict[str, object] | None:
    """Return what feedback says of a ranking; None if no event counts."""
    candidates = unpack(bytes(trace.data))
    hidden = (~candidates.shown).nonzero()[0].tolist()
    judgements = judge(events, len(candidates), candidates.ids, hidden)
    if judgements.is_empty:
        return None
    chosen = judgements.chosen
    return {
        "trace": trace.id,
        "minute": int(trace.time // MINUTE),
        "tenant": trace.tenant[:MAX_NAME],
        "model": trace.model[:MAX_NAME],
        "chosen": int(bool(chosen)),
        "rejected": judgements.rejections,
        "reciprocal_before": 1 / (chosen[0] + 1) if chosen else None,
        "reciprocal_after": 1 / min(int(candidates.ranks[position]) for position in chosen) if chosen else None,
    }
