"""Traces in the database: written in batches, listed, and read with their texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
from sqlalchemy import Connection, Select, desc, insert, select, update

from rerankd.database import tables
from rerankd.database.connection import Database, batched
from rerankd.traces.packing import Candidates, pack, unpack
from rerankd.traces.passages import PassageStore, read_passages
from rerankd.traces.trace import STORED_NAMES, PendingTrace, Trace

MAX_DIGITS = 18
Order = Literal["newest", "oldest", "margin"]
TRACE_COLUMNS = [tables.trace.c[STORED_NAMES.get(field.name, field.name)] for field in dataclasses.fields(Trace)]
"""Columns of `trace` in the order of the fields of `Trace`."""


@dataclass(frozen=True, slots=True)
class TraceFilter:
    """Conditions on traces; None puts no condition on a field.

    Attributes:
        tenant: id of the API key that sent the request; the empty string for requests without a key.
        since: earliest time, inclusive, seconds since 1970.
        until: latest time, exclusive.
        model: name of the model that scored.
        request_id: request id, as in the answer's `id`.
        experiment: name of the experiment; the empty string for requests outside of experiments.
        variant: variant of the experiment that answered.
    """

    tenant: str | None = None
    since: float | None = None
    until: float | None = None
    model: str | None = None
    request_id: str | None = None
    experiment: str | None = None
    variant: str | None = None

    def apply(self, query: Select[Any]) -> Select[Any]:
        """Return a query on `trace` with these conditions added."""
        columns = tables.trace.c
        for column, value in (
            (columns.tenant, self.tenant),
            (columns.model, self.model),
            (columns.request_id, self.request_id),
            (columns.experiment, self.experiment),
            (columns.arm, self.variant),
        ):
            if value is not None:
                query = query.where(column == value)
        if self.since is not None:
            query = query.where(columns.time >= self.since)
        return query if self.until is None else query.where(columns.time < self.until)


@dataclass(frozen=True, slots=True)
class FullTrace:
    """A trace with its texts.

    Attributes:
        trace: row of the trace.
        query: the query; None if it was erased.
        parameters: other parameters of the request.
        candidates: scores and ranks.
        texts: documents in the order of the request; None for an erased one.
    """

    trace: Trace
    query: str | None
    parameters: dict[str, Any]
    candidates: Candidates
    texts: tuple[str | None, ...]


class TraceStore(Database):
    """Traces in a database, which is created or migrated when it is opened. Thread-safe except for `write`.

    Args:
        url: `sqlite:///folder/file` or `postgresql://user:password@host/database`.

    Raises:
        InvalidRequestError: the URL is not valid, or a later version of rerankd made the tables.
        MissingDependencyError: PostgreSQL without the extra `postgres`.
        UnavailableError: the database cannot be reached or written.

    Example:
        >>> store = TraceStore("sqlite:///traces.sqlite")  # doctest: +SKIP
        >>> store.list_traces(TraceFilter(tenant="search"), limit=1)[0].top_before  # doctest: +SKIP
        3
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._passages = PassageStore()

    def write(self, pending: Sequence[PendingTrace]) -> None:
        """Insert traces in one transaction: all or none.

        Raises:
            SQLAlchemyError: the database cannot be reached, or rejects a trace.
        """
        contents = {digest: content for trace in pending for digest, content in trace.contents.items()}
        with self.begin() as connection:
            reserved = update(tables.store).values(next_trace=tables.store.c.next_trace + len(pending))
            row = connection.execute(reserved.returning(*tables.store.c)).one()
            passages = self._passages.save(connection, contents, row.next_passage, row.erased)
            first = row.next_trace - len(pending)
            rows, packed = [], []
            for number, trace in enumerate(pending, start=first):
                query, parameters, *documents = (passages[digest][0] for digest in trace.texts)
                rows.append(trace.row | {"id": number, "query": query, "parameters": parameters})
                candidates = dataclasses.replace(trace.candidates, passages=np.array(documents, np.int64))
                packed.append({"trace": number, "data": pack(candidates)})
            connection.execute(insert(tables.trace), rows)
            connection.execute(insert(tables.candidates), packed)
        self._passages.remember(passages)

    def list_traces(self, where: TraceFilter | None = None, *, limit: int = 50, order: Order = "newest") -> list[Trace]:
        """Return traces without their texts.

        Args:
            where: conditions; None for all traces.
            limit: traces at most.
            order: `newest` or `oldest` first, or `margin`: the smallest margin between rank 1 and rank 2 first.
        """
        where = where or TraceFilter()
        columns = tables.trace.c
        sort_key = {"newest": desc(columns.time), "oldest": columns.time, "margin": columns.margin}[order]
        if order == "margin":  # the index alone finds these ids; only the rows that are returned are read
            ids = where.apply(select(columns.id)).where(columns.margin.is_not(None))
            query = select(*TRACE_COLUMNS).where(columns.id.in_(ids.order_by(sort_key).limit(limit))).order_by(sort_key)
        else:
            query = where.apply(select(*TRACE_COLUMNS)).order_by(sort_key).limit(limit)
        with self.connect() as connection:
            return [Trace(*row) for row in connection.execute(query)]

    def iter_traces(self, where: TraceFilter, *, batch_size: int = 200) -> Iterator[FullTrace]:
        """Yield all traces with their texts by ascending number, which is nearly chronological."""
        last = 0
        while True:
            query = where.apply(select(*TRACE_COLUMNS)).where(tables.trace.c.id > last)
            with self.connect() as connection:
                rows = connection.execute(query.order_by(tables.trace.c.id).limit(batch_size))
                traces = [Trace(*row) for row in rows]
                full_traces = _load(connection, traces)
            if not traces:
                return
            yield from full_traces
            last = traces[-1].id

    def load(self, traces: Sequence[Trace]) -> list[FullTrace]:
        """Return traces with their texts; those deleted in the meantime are left out."""
        with self.connect() as connection:
            return _load(connection, traces)

    def find_trace(self, name: str, tenant: str | None = None) -> FullTrace | None:
        """Return a trace by request id (the newest with that id) or by number, with or without `#`."""
        name = name.removeprefix("#")
        number = int(name) if name.isascii() and name.isdecimal() and len(name) <= MAX_DIGITS else None
        traces = self.list_traces(TraceFilter(tenant=tenant, request_id=name), limit=1)
        if not traces and number is not None:
            return self.get_trace(number, tenant)
        return next(iter(self.load(traces)), None)

    def get_trace(self, number: int, tenant: str | None = None) -> FullTrace | None:
        """Return a trace by its number; None if there is none, or if it is another tenant's."""
        query = TraceFilter(tenant=tenant).apply(select(*TRACE_COLUMNS)).where(tables.trace.c.id == number)
        with self.connect() as connection:
            return next(iter(_load(connection, [Trace(*row) for row in connection.execute(query)])), None)

    def read_queries(self, traces: Collection[Trace]) -> dict[int, str]:
        """Return the query texts of traces by `Trace.query`; erased ones are missing."""
        with self.connect() as connection:
            return read_passages(connection, [trace.query for trace in traces])


def _load(connection: Connection, traces: Sequence[Trace]) -> list[FullTrace]:
    columns = tables.candidates.c
    candidates: dict[int, Candidates] = {}
    for batch in batched([trace.id for trace in traces]):
        rows = connection.execute(select(columns.trace, columns.data).where(columns.trace.in_(batch)))
        candidates |= {number: unpack(bytes(data)) for number, data in rows}
    numbers = {number for packed in candidates.values() for number in packed.passages.tolist()}
    texts = read_passages(connection, numbers.union(*({trace.query, trace.parameters} for trace in traces)))
    return [
        FullTrace(
            trace=trace,
            query=texts.get(trace.query),
            parameters=orjson.loads(texts.get(trace.parameters, "{}")),
            candidates=candidates[trace.id],
            texts=tuple(texts.get(number) for number in candidates[trace.id].passages.tolist()),
        )
        for trace in traces
        if trace.id in candidates
    ]
