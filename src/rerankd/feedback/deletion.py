"""Deletion of traces, of texts that no trace refers to any more, of feedback and evaluations, within a transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from sqlalchemy import ColumnElement, Connection, Delete, and_, bindparam, delete, select, update

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.traces.packing import pack, passages_of, unpack


def lock_writers(connection: Connection) -> None:
    """Block writers until this transaction ends; the counter tells them to drop their cached numbers."""
    connection.execute(update(tables.store).values(erased=tables.store.c.erased + 1))


def erase_metadata(connection: Connection, texts: set[int]) -> None:
    """Remove the documents' metadata from traces too, since it may repeat the text."""
    if not texts:
        return
    columns = tables.candidates.c
    changes: list[dict[str, object]] = []
    for trace, data in connection.execute(select(columns.trace, columns.data).execution_options(yield_per=1000)):
        if texts.isdisjoint(passages_of(bytes(data)).tolist()):
            continue
        candidates = unpack(bytes(data))
        if any(candidates.metadata):
            pairs = zip(candidates.passages.tolist(), candidates.metadata, strict=True)
            metadata = [{} if number in texts else original for number, original in pairs]
            changes.append({"number": trace, "content": pack(replace(candidates, metadata=metadata))})
    if changes:
        statement = update(tables.candidates).where(columns.trace == bindparam("number"))
        connection.execute(statement.values(data=bindparam("content")), changes)


def texts_of(connection: Connection, traces: Collection[int]) -> set[int]:
    """Return the numbers of the texts that traces refer to."""
    texts: set[int] = set()
    columns = tables.trace.c
    for batch in batched(sorted(traces)):
        for data in connection.scalars(select(tables.candidates.c.data).where(tables.candidates.c.trace.in_(batch))):
            texts.update(passages_of(bytes(data)).tolist())
        for pair in connection.execute(select(columns.query, columns.parameters).where(columns.id.in_(batch))):
            texts.update(pair)
    return texts


def in_use(connection: Connection, texts: set[int]) -> set[int]:
    """Return those of the texts that a trace still refers to."""
    used: set[int] = set()
    if not texts:
        return used
    for data in connection.scalars(select(tables.candidates.c.data).execution_options(yield_per=1000)):
        used.update(texts.intersection(passages_of(bytes(data)).tolist()))
    for column in (tables.trace.c.query, tables.trace.c.parameters):
        used.update(texts.intersection(connection.scalars(select(column).distinct())))
    return used


def delete_traces(connection: Connection, traces: Iterable[int]) -> None:
    """Delete traces, without their texts."""
    for batch in batched(list(traces)):
        connection.execute(delete(tables.candidates).where(tables.candidates.c.trace.in_(batch)))
        connection.execute(delete(tables.trace).where(tables.trace.c.id.in_(batch)))


def delete_texts(connection: Connection, texts: Iterable[int]) -> int:
    """Delete texts by number; returns how many there were."""
    count = 0
    for batch in batched(sorted(texts)):
        connection.execute(delete(tables.query_text).where(tables.query_text.c.id.in_(batch)))
        count += row_count(connection, delete(tables.passage).where(tables.passage.c.id.in_(batch)))
    return count


def delete_texts_where(connection: Connection, condition: ColumnElement[bool]) -> int:
    """Delete the texts for which a condition on `passage` holds; returns how many there were."""
    numbers = select(tables.passage.c.id).where(condition)
    connection.execute(delete(tables.query_text).where(tables.query_text.c.id.in_(numbers)))
    return row_count(connection, delete(tables.passage).where(condition))


def delete_feedback(connection: Connection, cutoff: float, pending_cutoff: float) -> int:
    """Delete feedback from before `cutoff`, and feedback without a ranking from before `pending_cutoff`."""
    columns, trace = tables.feedback.c, tables.trace.c
    same_request = and_(trace.request_id == columns.request_id, trace.tenant == columns.tenant)
    is_traced = select(trace.id).where(same_request).exists()
    old = delete(tables.feedback).where(columns.time < cutoff)
    untraced = delete(tables.feedback).where(columns.time < pending_cutoff).where(~is_traced)
    return row_count(connection, old) + row_count(connection, untraced)


def delete_skips(connection: Connection, cutoff: float) -> None:
    """Delete what labellers skipped before `cutoff`, unless it is a case: the traces of that time are gone."""
    columns, case = tables.label_skip.c, tables.bad_case.c
    same_ranking = and_(case.request_id == columns.request_id, case.tenant == columns.tenant)
    is_case = select(case.id).where(same_ranking).exists()
    connection.execute(delete(tables.label_skip).where(columns.time < cutoff).where(~is_case))


def delete_evaluations(connection: Connection, tenant: str) -> None:
    """Delete a tenant's evaluations; they name its cases."""
    numbers = select(tables.evaluation.c.id).where(tables.evaluation.c.tenant == tenant)
    connection.execute(delete(tables.evaluation_query).where(tables.evaluation_query.c.evaluation.in_(numbers)))
    connection.execute(delete(tables.evaluation).where(tables.evaluation.c.tenant == tenant))


def row_count(connection: Connection, statement: Delete) -> int:
    """Run a statement and return how many rows it deleted."""
    return int(connection.execute(statement).rowcount)
