"""Evaluations in the database: their plan, their progress, and their results.

Results hold ids and numbers, no texts. The instance that runs an evaluation gives a sign of life every few seconds;
without one it was cut off, by a crash or a restart.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import orjson
from sqlalchemy import Connection, Select, delete, insert, select, update

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.database.errors import translate_errors
from rerankd.errors import NotFoundError
from rerankd.evaluation.saved import UNFINISHED, EvaluationPlan, SavedEvaluation, State
from rerankd.traces.store import TraceStore

KEPT = 50  # finished evaluations of a tenant, and of the administrators
MAX_LISTED = 200
SILENT_SECONDS = 15.0  # without a sign of life after which an evaluation was cut off
MAX_ERROR = 1000
_COLUMNS = [column for column in tables.evaluation.c if column.name != "result"]


class EvaluationStore:
    """Evaluations of a database. Thread-safe; every method raises `UnavailableError` if it cannot be reached.

    Args:
        traces: the database.

    Example:
        >>> import tempfile
        >>> store = EvaluationStore(TraceStore(f"sqlite:///{tempfile.mkdtemp()}/traces.sqlite"))
        >>> number = store.add(EvaluationPlan("cases", "", ("mini",), 50, 100), None, "me")
        >>> store.get(number, None).state
        'queued'
    """

    def __init__(self, traces: TraceStore) -> None:
        self._traces = traces

    def add(self, plan: EvaluationPlan, tenant: str | None, author: str) -> int:
        """Add an evaluation that waits, and delete what exceeds the number to keep; return its number."""
        now = time.time()
        values = {
            "created": now,
            "changed": now,
            "tenant": tenant,
            "author": author,
            "plan": orjson.dumps(asdict(plan)).decode(),
            "state": "queued",
            "done": 0,
            "total": 0,
            "error": "",
            "headline": "",
        }
        with self._begin() as connection:
            number = connection.execute(insert(tables.evaluation).values(values)).inserted_primary_key
            _prune(connection, tenant)
        return int(number[0]) if number else 0

    def list(self, tenant: str | None, limit: int = MAX_LISTED) -> list[SavedEvaluation]:
        """Return evaluations, the newest first.

        Args:
            tenant: tenant whose evaluations are listed; None for all.
            limit: evaluations at most.
        """
        query = _of_tenant(select(*_COLUMNS), tenant).order_by(tables.evaluation.c.id.desc()).limit(limit)
        self._end_silent()
        with self._traces.connect() as connection:
            return [_saved(row) for row in connection.execute(query)]

    def get(self, number: int, tenant: str | None) -> SavedEvaluation:
        """Return an evaluation.

        Raises:
            NotFoundError: there is none, or it is not this tenant's.
        """
        self._end_silent()
        with self._traces.connect() as connection:
            query = _of_tenant(select(*_COLUMNS), tenant).where(tables.evaluation.c.id == _checked(number))
            row = connection.execute(query).one_or_none()
        if row is None:
            raise _missing(number)
        return _saved(row)

    def result(self, number: int) -> dict[str, Any]:
        """Return the results of an evaluation that is done.

        Raises:
            NotFoundError: it has none.
        """
        with self._traces.connect() as connection:
            query = select(tables.evaluation.c.result).where(tables.evaluation.c.id == _checked(number))
            data = connection.execute(query).scalar_one_or_none()
        if data is None:
            raise NotFoundError(f"Evaluation {number} has no results.", hint="Wait until it is done, or start another.")
        return _unpacked(data)

    def query(self, number: int, position: int) -> dict[str, Any]:
        """Return candidates, grades and logits of a query, by its position in the results.

        Raises:
            NotFoundError: there is no such query.
        """
        columns = tables.evaluation_query.c
        with self._traces.connect() as connection:
            query = select(columns.data).where(columns.evaluation == _checked(number), columns.position == position)
            data = connection.execute(query).scalar_one_or_none()
        if data is None:
            raise NotFoundError(f"Evaluation {number} has no query {position}.", hint="Choose one of its list.")
        return _unpacked(data)

    def start(self, number: int, total: int) -> bool:
        """Note that an evaluation runs; return False if it was ended in the meantime."""
        now = time.time()
        return self._change(number, state="running", started=now, changed=now, total=total)

    def keep_alive(self, numbers: Collection[int]) -> None:
        """Give a sign of life for evaluations that wait or read their dataset."""
        columns = tables.evaluation.c
        with self._begin() as connection:
            mine = columns.id.in_(list(numbers)) & columns.state.in_(UNFINISHED)
            connection.execute(update(tables.evaluation).where(mine).values(changed=time.time()))

    def progress(self, number: int, done: int) -> bool:
        """Note how many pairs are scored; return False if it was ended in the meantime, by whoever."""
        return self._change(number, done=done, changed=time.time())

    def finish(
        self,
        number: int,
        result: Mapping[str, Any],
        headline: Mapping[str, Any],
        queries: Sequence[Mapping[str, Any]],
    ) -> bool:
        """Store results; return False if the evaluation was ended in the meantime."""
        now = time.time()
        rows = [
            {"evaluation": number, "position": position, "data": _packed(query)}
            for position, query in enumerate(queries)
        ]
        values = {
            "state": "done",
            "finished": now,
            "changed": now,
            "done": tables.evaluation.c.total,
            "headline": orjson.dumps(headline).decode(),
            "result": _packed(result),
        }
        with self._begin() as connection:
            if not _update(connection, number, values):
                return False
            for batch in batched(rows):
                connection.execute(insert(tables.evaluation_query), list(batch))
        return True

    def end(self, number: int, state: State, error: str = "") -> bool:
        """End an evaluation without results; return False if it had ended already."""
        now = time.time()
        return self._change(number, state=state, finished=now, changed=now, error=error[:MAX_ERROR])

    def delete(self, number: int, tenant: str | None) -> None:
        """Delete an evaluation and its results.

        Raises:
            NotFoundError: there is none, or it is not this tenant's.
        """
        with self._begin() as connection:
            query = _of_tenant(select(tables.evaluation.c.id), tenant).where(tables.evaluation.c.id == _checked(number))
            if connection.execute(query).one_or_none() is None:
                raise _missing(number)
            _delete(connection, [number])

    def _change(self, number: int, **values: object) -> bool:
        with self._begin() as connection:
            return _update(connection, number, values)

    def _end_silent(self) -> None:
        """End evaluations whose instance gave no sign of life: it has crashed or was restarted."""
        columns = tables.evaluation.c
        silent = columns.state.in_(UNFINISHED) & (columns.changed < time.time() - SILENT_SECONDS)
        with self._traces.connect() as connection:
            if connection.execute(select(columns.id).where(silent).limit(1)).one_or_none() is None:
                return
        with self._begin() as connection:
            values = {"state": "interrupted", "finished": time.time()}
            connection.execute(update(tables.evaluation).where(silent).values(values))

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with translate_errors(), self._traces.begin() as connection:
            yield connection


def _update(connection: Connection, number: int, values: Mapping[str, object]) -> bool:
    columns = tables.evaluation.c
    unfinished = (columns.id == number) & columns.state.in_(UNFINISHED)
    return connection.execute(update(tables.evaluation).where(unfinished).values(values)).rowcount > 0


def _of_tenant(query: Select[Any], tenant: str | None) -> Select[Any]:
    return query if tenant is None else query.where(tables.evaluation.c.tenant == tenant)


def _prune(connection: Connection, tenant: str | None) -> None:
    columns = tables.evaluation.c
    finished = select(columns.id).where(columns.tenant == tenant, columns.state.not_in(UNFINISHED))
    old = connection.scalars(finished.order_by(columns.id.desc()).offset(KEPT - 1)).all()
    _delete(connection, old)


def _delete(connection: Connection, numbers: Sequence[int]) -> None:
    for batch in batched(list(numbers)):
        connection.execute(delete(tables.evaluation_query).where(tables.evaluation_query.c.evaluation.in_(batch)))
        connection.execute(delete(tables.evaluation).where(tables.evaluation.c.id.in_(batch)))


def _saved(row: Any) -> SavedEvaluation:
    values = dict(row._mapping)
    plan = orjson.loads(values.pop("plan"))
    plan["models"] = tuple(plan["models"])
    headline = orjson.loads(values.pop("headline") or "{}")
    return SavedEvaluation(**values, plan=EvaluationPlan(**plan), headline=headline)


def _checked(number: int) -> int:
    if not 0 < number < 2**63:
        raise _missing(number)
    return number


def _missing(number: int) -> NotFoundError:
    return NotFoundError(f"There is no evaluation {number}.", hint="See the list of evaluations.")


def _packed(content: Mapping[str, Any]) -> bytes:
    return zlib.compress(orjson.dumps(content), 6)


def _unpacked(data: bytes) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(zlib.decompress(bytes(data)))
    return content
