"""The traces of a database: written in batches, listed, and read with their texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
from sqlalchemy import Connection, Select, desc, insert, select, text, update
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)

from rerankd.database import tables
from rerankd.errors import InvalidRequestError, RerankdError, UnavailableError
from rerankd.traces.packing import Candidates, pack, unpack
from rerankd.traces.passages import Texts, read_texts, slices
from rerankd.traces.trace import Draft, Trace

MAX_DIGITS = 18
Order = Literal["newest", "oldest", "margin"]
_COLUMNS = [tables.trace.c[field.name] for field in dataclasses.fields(Trace)]


@dataclass(frozen=True, slots=True)
class TraceFilter:
    """Which traces; what is None is not looked at.

    Attributes:
        tenant: id of the API key that asked; the empty string for those without one.
        since: no earlier, seconds since 1970.
        until: earlier than this.
        model: name of the model that scored.
        request_id: what the answer called it.
        experiment: name of the experiment that it was part of; the empty string for those that were part of none.
        arm: which of its arms answered.
    """

    tenant: str | None = None
    since: float | None = None
    until: float | None = None
    model: str | None = None
    request_id: str | None = None
    experiment: str | None = None
    arm: str | None = None

    def applied(self, query: Select[Any]) -> Select[Any]:
        """A query that looks at these only."""
        columns = tables.trace.c
        for column, value in (
            (columns.tenant, self.tenant),
            (columns.model, self.model),
            (columns.request_id, self.request_id),
            (columns.experiment, self.experiment),
            (columns.arm, self.arm),
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
        trace: as it is listed.
        query: the question; None once it was erased.
        parameters: what was asked for beside it.
        candidates: scores and places.
        texts: of the candidates, in the order they came in; None for what was erased.
    """

    trace: Trace
    query: str | None
    parameters: dict[str, Any]
    candidates: Candidates
    texts: tuple[str | None, ...]


class TraceStore:
    """Traces in a database; tables are made or brought up to date when it is opened. Thread-safe but for `write`.

    Args:
        url: `sqlite:///folder/file` or `postgresql://user:password@host/database`.

    Raises:
        InvalidRequestError: an address that is none, or tables of a later version.
        UnavailableError: the database cannot be reached or written.

    Example:
        >>> store = TraceStore("sqlite:///traces.sqlite")  # doctest: +SKIP
        >>> store.traces(TraceFilter(tenant="search"), limit=1)[0].top_before  # doctest: +SKIP
        3
    """

    def __init__(self, url: str) -> None:
        self.engine = tables.open_engine(url)
        self._texts = Texts()
        with translated():
            tables.migrate(self.engine)

    @property
    def sqlite(self) -> bool:
        """Whether it is a file."""
        return self.engine.dialect.name == "sqlite"

    def write(self, drafts: Sequence[Draft]) -> None:
        """Keep traces: all or none.

        Raises:
            SQLAlchemyError: whatever the database has against it.
        """
        contents = {digest: content for one in drafts for digest, content in one.contents.items()}
        with self.changing() as connection:
            claimed = update(tables.store).values(next_trace=tables.store.c.next_trace + len(drafts))
            row = connection.execute(claimed.returning(*tables.store.c)).one()
            numbers = self._texts.keep(connection, contents, row.next_passage, row.erased)
            first = row.next_trace - len(drafts)
            rows, packed = [], []
            for number, one in enumerate(drafts, start=first):
                query, parameters, *passages = (numbers[digest][0] for digest in one.texts)
                rows.append(one.row | {"id": number, "query": query, "parameters": parameters})
                full = dataclasses.replace(one.candidates, passages=np.array(passages, np.int64))
                packed.append({"trace": number, "data": pack(full)})
            connection.execute(insert(tables.trace), rows)
            connection.execute(insert(tables.candidates), packed)
        self._texts.learn(numbers)

    def traces(self, wanted: TraceFilter | None = None, *, limit: int = 50, order: Order = "newest") -> list[Trace]:
        """Traces without their texts.

        Args:
            wanted: which; None for all.
            limit: so many at most.
            order: `newest` or `oldest` first, or the smallest `margin` between first and second first.
        """
        columns = tables.trace.c
        by = {"newest": desc(columns.time), "oldest": columns.time, "margin": columns.margin}[order]
        if order == "margin":  # found in the index alone; of the rows only those wanted are read
            ids = (wanted or TraceFilter()).applied(select(columns.id)).where(columns.margin.is_not(None))
            query = select(*_COLUMNS).where(columns.id.in_(ids.order_by(by).limit(limit))).order_by(by)
        else:
            query = (wanted or TraceFilter()).applied(select(*_COLUMNS)).order_by(by).limit(limit)
        with self.reading() as connection:
            return [Trace(*row) for row in connection.execute(query)]

    def each(self, wanted: TraceFilter, *, at_once: int = 200) -> Iterator[FullTrace]:
        """All traces with their texts, by number, which is nearly the order in which they happened."""
        last = 0
        while True:
            query = wanted.applied(select(*_COLUMNS)).where(tables.trace.c.id > last)
            with self.reading() as connection:
                rows = [Trace(*row) for row in connection.execute(query.order_by(tables.trace.c.id).limit(at_once))]
                found = _full(connection, rows)
            if not rows:
                return
            yield from found
            last = rows[-1].id

    def full(self, traces: Sequence[Trace]) -> list[FullTrace]:
        """Traces with their texts; those that are gone meanwhile are left out."""
        with self.reading() as connection:
            return _full(connection, traces)

    def one(self, name: str, tenant: str | None = None) -> FullTrace | None:
        """A trace by its number or its request id; of several with that id the newest."""
        plain = name.removeprefix("#")
        number = int(plain) if plain.isascii() and plain.isdecimal() and len(plain) <= MAX_DIGITS else None
        named = self.traces(TraceFilter(tenant=tenant, request_id=plain), limit=1)
        if not named and number is not None:
            query = TraceFilter(tenant=tenant).applied(select(*_COLUMNS)).where(tables.trace.c.id == number)
            with self.reading() as connection:
                named = [Trace(*row) for row in connection.execute(query)]
        found = self.full(named)
        return found[0] if found else None

    def queries(self, traces: Collection[Trace]) -> dict[int, str]:
        """The queries of traces, by their numbers."""
        with self.reading() as connection:
            return read_texts(connection, [trace.query for trace in traces])

    def size(self) -> int:
        """Bytes that traces take in the database; of a file, without what is free in it."""
        with self.reading() as connection:
            if self.sqlite:
                pages, free, page = (
                    connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                    for name in ("page_count", "freelist_count", "page_size")
                )
                return int((pages - free) * page)
            total = "SELECT sum(pg_total_relation_size(to_regclass(name))) FROM unnest(CAST(:names AS text[])) AS name"
            names = {"names": [table.name for table in tables.metadata.sorted_tables]}
            return int(connection.execute(text(total), names).scalar_one() or 0)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        with translated(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        """A transaction that may write."""
        with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection


def _full(connection: Connection, traces: Sequence[Trace]) -> list[FullTrace]:
    held = tables.candidates.c
    packed: dict[int, Candidates] = {}
    for some in slices([trace.id for trace in traces]):
        rows = connection.execute(select(held.trace, held.data).where(held.trace.in_(some)))
        packed |= {number: unpack(bytes(data)) for number, data in rows}
    numbers = {number for found in packed.values() for number in found.passages.tolist()}
    texts = read_texts(connection, numbers.union(*({trace.query, trace.parameters} for trace in traces)))
    return [
        FullTrace(
            trace,
            texts.get(trace.query),
            orjson.loads(texts.get(trace.parameters, "{}")),
            packed[trace.id],
            tuple(texts.get(number) for number in packed[trace.id].passages.tolist()),
        )
        for trace in traces
        if trace.id in packed
    ]


@contextmanager
def translated() -> Iterator[None]:
    """The database's errors as sentences; they name no text.

    Raises:
        UnavailableError: it cannot be reached now.
        InvalidRequestError: it is no database that can be used.
    """
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise UnavailableError(
            f"The database of traces cannot be used ({reason(error)}).",
            hint="Start it, free its disk, or mend traces_url.",
            retry_after=5,
        ) from error
    except DBAPIError as error:
        raise InvalidRequestError(
            f"The database of traces cannot be used ({reason(error)}).", hint="Mend traces_url."
        ) from error
    except OSError as error:
        raise InvalidRequestError(
            f"Traces cannot be kept there ({error}).", hint="Name another place with traces_url, or set traces = false."
        ) from error


def refused(error: Exception) -> bool:
    """Whether the database would refuse the same again, however often it is tried."""
    if isinstance(error, SQLAlchemyError):
        return isinstance(error, DataError | IntegrityError) or not isinstance(error, DBAPIError)
    return not isinstance(error, RerankdError | OSError)


def reason(error: DBAPIError) -> str:
    """The first line of what the database said."""
    return str(error.orig).partition("\n")[0][:200]
