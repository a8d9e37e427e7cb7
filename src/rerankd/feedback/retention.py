"""What is forgotten: by age and size as time goes by, by tenant or by document when somebody asks.

A text that no trace names any more goes with the last that did. By age this is told from when a text was last ranked,
which is written once an hour; on request all that is left is looked through, and texts that others use stay.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Delete, and_, bindparam, delete, func, select, update
from sqlalchemy.exc import OperationalError

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.database.errors import translate_errors
from rerankd.errors import UnavailableError
from rerankd.feedback.case_store import erase_case_texts, erase_tenant_cases
from rerankd.traces.packing import pack, passages_of, unpack
from rerankd.traces.passages import SEEN_SECONDS
from rerankd.traces.store import TraceStore

AT_ONCE = 2000
DAY = 86_400.0
SHRINK_PAGES = 2000
ATTEMPTS, ATTEMPT_SECONDS = 50, 0.1


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept.

    Attributes:
        seconds: age of the oldest trace; 0 for any.
        size: bytes of the database; 0 for any.
        pending_seconds: how long feedback waits for a trace of its request.
    """

    seconds: float = 30 * DAY
    size: int = 0
    pending_seconds: float = DAY


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is gone."""

    traces: int = 0
    texts: int = 0
    feedback: int = 0
    cases: int = 0

    def __add__(self, other: Forgotten) -> Forgotten:
        return Forgotten(
            self.traces + other.traces,
            self.texts + other.texts,
            self.feedback + other.feedback,
            self.cases + other.cases,
        )


def prune(store: TraceStore, retention: Retention, *, now: float | None = None) -> tuple[Forgotten, bool]:
    """Forget what is too old or too much, a few thousand traces at a time.

    Returns:
        What is gone, and whether there is more to forget.

    Raises:
        UnavailableError: the database cannot be reached.
    """
    now = time.time() if now is None else now
    cutoff = now - retention.seconds if retention.seconds else 0.0
    too_large = bool(retention.size) and store.size() > retention.size
    with translate_errors(), store.begin() as connection:
        _claim(connection)
        old = select(tables.trace.c.id).order_by(tables.trace.c.time).limit(AT_ONCE)
        if not too_large:
            old = old.where(tables.trace.c.time < cutoff)
        numbers = list(connection.scalars(old))
        _forget_traces(connection, numbers)
        oldest = connection.scalar(select(func.min(tables.trace.c.time)))
        # Time that a text was last seen is up to an hour behind, and clocks of instances differ.
        unseen = min(now if oldest is None else oldest, now) - 2 * SEEN_SECONDS
        texts = _count(connection, delete(tables.passage).where(tables.passage.c.seen < unseen))
        rated = _forget_feedback(connection, max(cutoff, 0.0), now - retention.pending_seconds)
    if store.is_sqlite and (numbers or texts):
        with translate_errors():
            _outside(store, f"PRAGMA incremental_vacuum({SHRINK_PAGES})")
    return Forgotten(len(numbers), texts, rated), len(numbers) == AT_ONCE


def erase_tenant(store: TraceStore, tenant: str) -> Forgotten:
    """Forget a tenant's traces, feedback and cases, and the texts that nobody else's traces name.

    Raises:
        UnavailableError: the database cannot be reached, or is read by others without a pause.
    """
    with translate_errors(), store.begin() as connection:
        _claim(connection)
        own = list(connection.scalars(select(tables.trace.c.id).where(tables.trace.c.tenant == tenant)))
        texts = _texts_of(connection, own)
        _forget_traces(connection, own)
        gone = _forget_texts(connection, texts - _used(connection, texts))
        rated = _count(connection, delete(tables.feedback).where(tables.feedback.c.tenant == tenant))
        cases = erase_tenant_cases(connection, tenant)
    scrub(store)
    return Forgotten(len(own), gone, rated, cases)


def erase_document(store: TraceStore, document: str, tenant: str | None = None) -> Forgotten:
    """Forget the texts that came under a document's id; the traces stay, without them.

    Args:
        document: the caller's id.
        tenant: only in this tenant's traces; a text that others' traces name as well stays then.

    Raises:
        UnavailableError: the database cannot be reached, or is read by others without a pause.
    """
    with translate_errors(), store.begin() as connection:
        _claim(connection)
        texts: set[int] = set()
        elsewhere: set[int] = set()
        joined = select(tables.trace.c.tenant, tables.candidates.c.data).join(
            tables.candidates, tables.candidates.c.trace == tables.trace.c.id
        )
        for owner, data in connection.execute(joined.execution_options(yield_per=1000)):
            if tenant is not None and owner != tenant:
                elsewhere.update(passages_of(bytes(data)).tolist())
                continue
            found = unpack(bytes(data))
            texts.update(int(found.passages[place]) for place, name in enumerate(found.ids) if name == document)
        _forget_metadata(connection, texts - elsewhere)
        gone = _forget_texts(connection, texts - elsewhere)
        gone += erase_case_texts(connection, document=document, tenant=tenant)
    scrub(store)
    return Forgotten(texts=gone)


def erase_text(store: TraceStore, digest: str) -> Forgotten:
    """Forget a text by its SHA-256 in hexadecimal, as `rerankd.traces.hashing.text_hash` gives it; the traces stay.

    Raises:
        UnavailableError: the database cannot be reached, or is read by others without a pause.
    """
    with translate_errors(), store.begin() as connection:
        _claim(connection)
        named = select(tables.passage.c.id).where(tables.passage.c.hash == bytes.fromhex(digest))
        _forget_metadata(connection, set(connection.execute(named).scalars()))
        gone = _count(connection, delete(tables.passage).where(tables.passage.c.hash == bytes.fromhex(digest)))
        gone += erase_case_texts(connection, digest=digest.lower())
    scrub(store)
    return Forgotten(texts=gone)


def _forget_metadata(connection: Connection, texts: set[int]) -> None:
    """Take the metadata of these texts out of the traces that have some: it may say what the text did."""
    if not texts:
        return
    held = tables.candidates.c
    changed: list[dict[str, object]] = []
    for trace, data in connection.execute(select(held.trace, held.data).execution_options(yield_per=1000)):
        if texts.isdisjoint(passages_of(bytes(data)).tolist()):
            continue
        found = unpack(bytes(data))
        if any(found.metadata):
            numbers = found.passages.tolist()
            kept = [{} if number in texts else own for number, own in zip(numbers, found.metadata, strict=True)]
            changed.append({"number": trace, "content": pack(replace(found, metadata=kept))})
    if changed:
        update_one = update(tables.candidates).where(held.trace == bindparam("number"))
        connection.execute(update_one.values(data=bindparam("content")), changed)


def scrub(store: TraceStore) -> None:
    """Write the database anew, so that nothing of what was deleted is left in its files.

    SQLite's log is emptied as well. PostgreSQL's log, replicas and backups are its own, and age out as they are set to.

    Raises:
        UnavailableError: somebody reads from it without a pause.
    """
    with translate_errors():
        if not store.is_sqlite:
            with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                for table in tables.metadata.sorted_tables:
                    connection.exec_driver_sql(f"VACUUM FULL {table.name}")
            return
        _outside(store, "VACUUM")
        for _ in range(ATTEMPTS):
            ((busy, *_pages),) = _outside(store, "PRAGMA wal_checkpoint(TRUNCATE)")
            if not busy:
                return
            time.sleep(ATTEMPT_SECONDS)
    raise UnavailableError(
        "The texts are deleted, but the log of the database still holds them: somebody reads from it.",
        hint="Run `rerankd traces erase` again in a moment.",
    )


def _outside(store: TraceStore, statement: str) -> list[tuple[Any, ...]]:
    """Run what SQLite does not do inside of a transaction."""
    with store.engine.connect().execution_options(bare=True) as connection:
        driver: Any = connection.connection.driver_connection
        try:
            rows: list[tuple[Any, ...]] = driver.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise OperationalError(statement, None, error) from error
    return rows


def _claim(connection: Connection) -> None:
    """Keep writers waiting until the end of this transaction; afterwards they trust no number they remember."""
    connection.execute(update(tables.store).values(erased=tables.store.c.erased + 1))


def _texts_of(connection: Connection, traces: Collection[int]) -> set[int]:
    texts: set[int] = set()
    for some in batched(sorted(traces)):
        held = select(tables.candidates.c.data).where(tables.candidates.c.trace.in_(some))
        for data in connection.scalars(held):
            texts.update(passages_of(bytes(data)).tolist())
        columns = tables.trace.c
        for pair in connection.execute(select(columns.query, columns.parameters).where(columns.id.in_(some))):
            texts.update(pair)
    return texts


def _used(connection: Connection, texts: set[int]) -> set[int]:
    """Which of these texts any trace still names."""
    used: set[int] = set()
    if not texts:
        return used
    for data in connection.scalars(select(tables.candidates.c.data).execution_options(yield_per=1000)):
        used.update(texts.intersection(passages_of(bytes(data)).tolist()))
    for column in (tables.trace.c.query, tables.trace.c.parameters):
        used.update(texts.intersection(connection.scalars(select(column).distinct())))
    return used


def _forget_traces(connection: Connection, numbers: Iterable[int]) -> None:
    for some in batched(list(numbers)):
        connection.execute(delete(tables.candidates).where(tables.candidates.c.trace.in_(some)))
        connection.execute(delete(tables.trace).where(tables.trace.c.id.in_(some)))


def _forget_texts(connection: Connection, numbers: Iterable[int]) -> int:
    return sum(
        _count(connection, delete(tables.passage).where(tables.passage.c.id.in_(some)))
        for some in batched(sorted(numbers))
    )


def _forget_feedback(connection: Connection, cutoff: float, pending: float) -> int:
    rated, trace = tables.feedback.c, tables.trace.c
    known = select(trace.id).where(and_(trace.request_id == rated.request_id, trace.tenant == rated.tenant)).exists()
    lonely = delete(tables.feedback).where(rated.time < pending).where(~known)
    return _count(connection, delete(tables.feedback).where(rated.time < cutoff)) + _count(connection, lonely)


def _count(connection: Connection, statement: Delete) -> int:
    return int(connection.execute(statement).rowcount)
