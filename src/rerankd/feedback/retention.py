"""Retention by age and size, and erasure by tenant, document or text on request.

A text is deleted with the last trace that refers to it. Retention by age decides this by the time a text was last
ranked, which is updated at most once an hour; retention by size and erasure scan the remaining traces, so that texts
that other traces still use are kept. `size_limit` decides whose traces go.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.exc import OperationalError

from rerankd._common.backoff import Backoff
from rerankd.database import tables
from rerankd.database.errors import translate_errors
from rerankd.errors import UnavailableError
from rerankd.feedback.activity_summaries import MAX_NAME
from rerankd.feedback.case_erasure import erase_case_texts, erase_tenant_cases
from rerankd.feedback.deletion import (
    delete_evaluations,
    delete_feedback,
    delete_skips,
    delete_texts,
    delete_texts_where,
    delete_traces,
    erase_metadata,
    in_use,
    lock_writers,
    row_count,
    texts_of,
)
from rerankd.feedback.size_limit import reduce_size, usage_by_tenant
from rerankd.traces.packing import passages_of, unpack
from rerankd.traces.passages import SEEN_SECONDS
from rerankd.traces.store import TraceStore

BATCH_SIZE = 2000
DAY = 86_400.0
VACUUM_PAGES = 2000
CHECKPOINT_BACKOFF = Backoff(attempts=20, first=0.05, longest=0.5)


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Limits on what is kept.

    Attributes:
        seconds: maximum age of a trace; 0 for no limit.
        size: maximum size of the database in bytes; 0 for no limit. Tenants share it equally.
        pending_seconds: maximum age of feedback whose request was never traced.
    """

    seconds: float = 30 * DAY
    size: int = 0
    pending_seconds: float = DAY


@dataclass(frozen=True, slots=True)
class DeletionCounts:
    """Numbers of deleted traces, texts, feedback events and cases."""

    traces: int = 0
    texts: int = 0
    feedback: int = 0
    cases: int = 0

    def __add__(self, other: DeletionCounts) -> DeletionCounts:
        return DeletionCounts(
            traces=self.traces + other.traces,
            texts=self.texts + other.texts,
            feedback=self.feedback + other.feedback,
            cases=self.cases + other.cases,
        )


def prune(store: TraceStore, policy: RetentionPolicy, *, now: float | None = None) -> tuple[DeletionCounts, bool]:
    """Delete what exceeds a retention policy, at most a few thousand traces per call.

    Args:
        store: store of traces and feedback.
        policy: limits on what is kept.
        now: seconds since 1970; None for the current time.

    Returns:
        Numbers of deleted rows, and True if there may be more to delete.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    now = time.time() if now is None else now
    cutoff = now - policy.seconds if policy.seconds else 0.0
    with translate_errors(), store.begin() as connection:
        lock_writers(connection)
        oldest_first = select(tables.trace.c.id).order_by(tables.trace.c.time).limit(BATCH_SIZE)
        traces = list(connection.scalars(oldest_first.where(tables.trace.c.time < cutoff)))
        delete_traces(connection, traces)
        oldest = connection.scalar(select(func.min(tables.trace.c.time)))
        # The last-seen time of a text is up to an hour behind, and the clocks of instances differ.
        unseen_since = min(now if oldest is None else oldest, now) - 2 * SEEN_SECONDS
        texts = delete_texts_where(connection, tables.passage.c.seen < unseen_since)
        feedback = delete_feedback(connection, max(cutoff, 0.0), now - policy.pending_seconds)
        delete_skips(connection, max(cutoff, 0.0))
    deleted, has_more = DeletionCounts(len(traces), texts, feedback), len(traces) == BATCH_SIZE
    if not has_more and policy.size and (size := _size(store)) > policy.size:
        reduced = _reduce(store, policy.size / size, now)
        deleted, has_more = deleted + reduced, reduced != DeletionCounts()
    if store.is_sqlite and (deleted.traces or deleted.texts):
        with translate_errors():
            _run_bare(store, f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
    return deleted, has_more


def _reduce(store: TraceStore, share: float, now: float) -> DeletionCounts:
    with translate_errors(), store.begin() as connection:
        lock_writers(connection)
        reduction = reduce_size(connection, share, now)
    return DeletionCounts(reduction.traces, reduction.texts, reduction.feedback)


def _size(store: TraceStore) -> int:
    """Return the size of the database, without the space of deleted rows, which tables of PostgreSQL keep."""
    size = store.size()
    if store.is_sqlite:
        return size
    with store.connect() as connection:
        return min(size, sum(usage_by_tenant(connection).values()))


def erase_tenant(store: TraceStore, tenant: str) -> DeletionCounts:
    """Erase a tenant's traces, feedback, cases and labels, and the texts that no other tenant's traces refer to.

    Its share in the sums over all tenants stays: they hold no texts.

    Raises:
        UnavailableError: the database cannot be reached, or other connections read from it without a pause.
    """
    with translate_errors(), store.begin() as connection:
        lock_writers(connection)
        traces = list(connection.scalars(select(tables.trace.c.id).where(tables.trace.c.tenant == tenant)))
        candidates = texts_of(connection, traces)
        delete_traces(connection, traces)
        texts = delete_texts(connection, candidates - in_use(connection, candidates))
        feedback = row_count(connection, delete(tables.feedback).where(tables.feedback.c.tenant == tenant))
        for table in (tables.activity_summary, tables.judged_ranking):
            connection.execute(delete(table).where(table.c.tenant == tenant[:MAX_NAME]))
        cases = erase_tenant_cases(connection, tenant)
        delete_evaluations(connection, tenant)
    scrub(store)
    return DeletionCounts(len(traces), texts, feedback, cases)


def erase_document(store: TraceStore, document: str, tenant: str | None = None) -> DeletionCounts:
    """Erase the texts that were ranked under a document id; the traces stay, without them.

    Args:
        store: store of traces and cases.
        document: id that requests gave to the document.
        tenant: tenant whose traces are searched, and a text that another tenant's traces refer to as well stays then;
            None for all tenants.

    Raises:
        UnavailableError: the database cannot be reached, or other connections read from it without a pause.
    """
    with translate_errors(), store.begin() as connection:
        lock_writers(connection)
        texts: set[int] = set()
        in_use_elsewhere: set[int] = set()
        query = select(tables.trace.c.tenant, tables.candidates.c.data).join(
            tables.candidates, tables.candidates.c.trace == tables.trace.c.id
        )
        for case_tenant, data in connection.execute(query.execution_options(yield_per=1000)):
            if tenant is not None and case_tenant != tenant:
                in_use_elsewhere.update(passages_of(bytes(data)).tolist())
                continue
            candidates = unpack(bytes(data))
            positions = (position for position, name in enumerate(candidates.ids) if name == document)
            texts.update(int(candidates.passages[position]) for position in positions)
        texts -= in_use_elsewhere
        erase_metadata(connection, texts)
        count = delete_texts(connection, texts)
        count += erase_case_texts(connection, document=document, tenant=tenant)
    scrub(store)
    return DeletionCounts(texts=count)


def erase_text(store: TraceStore, digest: str) -> DeletionCounts:
    """Erase a text by its SHA-256; the traces stay, without it.

    Args:
        store: store of traces and cases.
        digest: SHA-256 in hexadecimal, as `rerankd.traces.hashing.text_hash` returns it.

    Raises:
        UnavailableError: the database cannot be reached, or other connections read from it without a pause.
    """
    with translate_errors(), store.begin() as connection:
        lock_writers(connection)
        has_hash = tables.passage.c.hash == bytes.fromhex(digest)
        erase_metadata(connection, set(connection.scalars(select(tables.passage.c.id).where(has_hash))))
        count = delete_texts_where(connection, has_hash)
        count += erase_case_texts(connection, digest=digest.lower())
    scrub(store)
    return DeletionCounts(texts=count)


def scrub(
    store: TraceStore, *, backoff: Backoff = CHECKPOINT_BACKOFF, sleep: Callable[[float], object] = time.sleep
) -> None:
    """Rewrite the database files, so that no deleted content is left in them.

    The write-ahead log of SQLite is truncated as well. The log, replicas and backups of PostgreSQL have retention
    settings of their own.

    Args:
        store: the store.
        backoff: pauses between attempts to truncate SQLite's log while other connections read from it.
        sleep: function that waits for so many seconds.

    Raises:
        UnavailableError: other connections read from the database without a pause.
    """
    with translate_errors():
        if not store.is_sqlite:
            with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                for table in tables.metadata.sorted_tables:
                    connection.exec_driver_sql(f"VACUUM FULL {table.name}")
            return
        _run_bare(store, "VACUUM")
        if _truncate_log(store):
            return
        for pause in backoff.pauses():
            sleep(pause)
            if _truncate_log(store):
                return
    raise UnavailableError(
        "The texts are deleted, but the write-ahead log still contains them because other connections are reading.",
        hint="Run `rerankd traces erase` again in a moment.",
    )


def _truncate_log(store: TraceStore) -> bool:
    ((is_busy, *_pages),) = _run_bare(store, "PRAGMA wal_checkpoint(TRUNCATE)")
    return not is_busy


def _run_bare(store: TraceStore, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement that SQLite does not allow inside a transaction."""
    with store.engine.connect().execution_options(bare=True) as connection:
        driver: Any = connection.connection.driver_connection
        try:
            rows: list[tuple[Any, ...]] = driver.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise OperationalError(statement, None, error) from error
    return rows
