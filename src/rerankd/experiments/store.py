"""Experiments in the database: started once, changed by one instance at a time, counted by all instances together."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from rerankd.database import tables
from rerankd.database.errors import translate_errors
from rerankd.errors import ConflictError, InvalidRequestError, NotFoundError
from rerankd.experiments.counters import MAX_UNITS, Snapshot
from rerankd.experiments.experiment import ACTIVE, Experiment, parse_plan, serialize_plan, validate
from rerankd.experiments.history import ExperimentEvent, write_event
from rerankd.experiments.sequential_tests import Sums
from rerankd.traces.store import TraceStore

MAX_ACTIVE = 16
_FIELDS = [field.name for field in dataclasses.fields(Experiment)]
COLUMNS = [tables.experiment.c[name] for name in _FIELDS]
IS_ACTIVE = tables.experiment.c.active_name.is_not(None)
SumsByMetric = Mapping[tuple[int, str, str], Sums]
"""Sums by step, variant and metric."""


class ExperimentStore:
    """Experiments of a database of traces. Thread-safe.

    Args:
        traces: database of traces.
        clock: seconds since 1970.

    Example:
        >>> store = ExperimentStore(TraceStore("sqlite:///traces.sqlite"))  # doctest: +SKIP
        >>> store.start(Experiment("new", "canary", "mini", "org/name"), "me")  # doctest: +SKIP
    """

    def __init__(self, traces: TraceStore, clock: Callable[[], float] = time.time) -> None:
        self.traces, self._clock = traces, clock

    def start(self, experiment: Experiment, started_by: str, why: str = "") -> Experiment:
        """Start an experiment at its first step.

        Args:
            experiment: experiment to start; its seed is drawn if empty.
            started_by: person, for the history.
            why: reason of the person, for the history.

        Returns:
            The experiment as it is stored.

        Raises:
            InvalidRequestError: a field is invalid.
            ConflictError: an experiment of this name is active, or one answers requests for its model.
            UnavailableError: the database cannot be reached.
        """
        now = self._clock()
        plan = validate(experiment).plan
        started = replace(
            experiment,
            seed=experiment.seed or secrets.token_hex(8),
            coverage=plan.steps[0],
            step=0,
            state="running",
            created=now,
            changed=now,
            stepped=now,
            revision=1,
        )
        try:
            with translate_errors(), self.traces.begin() as connection:
                active = connection.scalar(select(func.count()).where(IS_ACTIVE)) or 0
                if active >= MAX_ACTIVE:
                    raise ConflictError(
                        f"{active} experiments are active, the most that is allowed.",
                        hint="Stop one: rerankd rollout stop NAME.",
                    )
                row = _row(started) | {"told": False}
                [number] = connection.execute(insert(tables.experiment).values(row)).inserted_primary_key or (0,)
                started = replace(started, id=int(number))
                reason = f"{started.kind} of {started.challenger}" + (f": {why}" if why else "")
                event = ExperimentEvent(started.name, "start", reason, started_by, 0.0, {}, now)
                write_event(connection, started, event)
        except InvalidRequestError as error:
            if isinstance(error.__cause__, IntegrityError):
                raise ConflictError(
                    f"{started.name} is active already, or another experiment answers requests for {started.model}.",
                    hint="See: rerankd rollout status. End it: rerankd rollout stop NAME.",
                ) from None
            raise
        return started

    def active(self) -> list[Experiment]:
        """Return the experiments that are running, or promoted and still in force, oldest first."""
        query = select(*COLUMNS).where(IS_ACTIVE).order_by(tables.experiment.c.id)
        with self.traces.connect() as connection:
            return [experiment_from_row(row) for row in connection.execute(query)]

    def recent(self, limit: int = 50) -> list[Experiment]:
        """Return the newest experiments in any state, newest first."""
        query = select(*COLUMNS).order_by(tables.experiment.c.id.desc()).limit(limit)
        with self.traces.connect() as connection:
            return [experiment_from_row(row) for row in connection.execute(query)]

    def get(self, name: str) -> Experiment:
        """Return the newest experiment of a name.

        Raises:
            NotFoundError: there is none.
        """
        columns = tables.experiment.c
        query = select(*COLUMNS).where(columns.name == name).order_by(columns.id.desc()).limit(1)
        with self.traces.connect() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFoundError(
                f"There is no experiment {name[:100]!r}.", hint="List the experiments: rerankd rollout status."
            )
        return experiment_from_row(row)

    def update(self, experiment: Experiment, event: ExperimentEvent, **values: Any) -> Experiment | None:
        """Change an experiment if nobody changed it since it was read (optimistic locking).

        Args:
            experiment: experiment as it was read.
            event: event for the history.
            values: attributes to change.

        Returns:
            The experiment as it is now; None if somebody else was faster.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        now = self._clock()
        updated = replace(experiment, **values, revision=experiment.revision + 1, changed=now)
        if updated.step != experiment.step:
            updated = replace(updated, stepped=now)
        with translate_errors(), self.traces.begin() as connection:
            if not _write(connection, experiment, _row(updated)):
                return None
            write_event(connection, updated, replace(event, time=event.time or now))
            if updated.state not in ACTIVE:  # nobody needs to know any more who took part
                _delete_units(connection, updated)
        return updated

    def end(self, experiment: Experiment, event: ExperimentEvent) -> bool:
        """End a promoted experiment: it is not in force any more, and its name and its model are free for the next one.

        Its state stays `promoted`.

        Returns:
            False if somebody changed it since it was read.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        now = self._clock()
        ended = replace(experiment, revision=experiment.revision + 1, changed=now)
        with translate_errors(), self.traces.begin() as connection:
            if not _write(connection, experiment, _row(ended) | {"active_name": None, "active_model": None}):
                return False
            write_event(connection, ended, replace(event, time=event.time or now))
            _delete_units(connection, ended)
        return True

    def events(
        self,
        name: str | None = None,
        limit: int = 200,
        *,
        model: str | None = None,
        author: str = "",
        action: str | None = None,
        since: float | None = None,
        before: float | None = None,
    ) -> list[ExperimentEvent]:
        """Return the history of one experiment or of all, newest first.

        Args:
            name: name of the experiment; None for all.
            limit: most events.
            model: name that requests use for the champion; None for any.
            author: part of the author's name.
            action: only this action; None for all.
            since: earliest time, seconds since 1970; None for all.
            before: only events before this time, in seconds since 1970; None for all.
        """
        event, experiment = tables.experiment_event.c, tables.experiment.c
        columns = (experiment.name, event.action, event.reason, event.who, event.coverage, event.data, event.time)
        query = select(*columns).join(tables.experiment, experiment.id == event.experiment)
        if name is not None:
            query = query.where(experiment.name == name)
        if model is not None:
            query = query.where(experiment.model == model)
        if since is not None:
            query = query.where(event.time >= since)
        if author:
            query = query.where(event.who.contains(author, autoescape=True))
        if action is not None:
            query = query.where(event.action == action)
        if before is not None:
            query = query.where(event.time < before)
        with self.traces.connect() as connection:
            rows = connection.execute(query.order_by(event.id.desc()).limit(limit)).all()
        return [
            ExperimentEvent(row.name, row.action, row.reason, row.who, row.coverage, orjson.loads(row.data), row.time)
            for row in rows
        ]

    def add_counts(self, snapshot: Snapshot) -> None:
        """Add the counts of an instance, all or none.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        if not snapshot:
            return
        sums = [
            {"experiment": experiment, "step": step, "arm": variant, "metric": metric} | dataclasses.asdict(metric_sums)
            # In the same order on all instances, so that no two deadlock.
            for (experiment, step, variant, metric), metric_sums in sorted(snapshot.sums.items())
        ]
        with translate_errors(), self.traces.begin() as connection:
            if sums:
                _add_sums(connection, sums)
            _add_units(connection, snapshot)

    def sums(self, experiment: Experiment) -> dict[tuple[int, str, str], Sums]:
        """Return what all instances counted, by step, variant and metric."""
        columns = tables.experiment_sums.c
        query = select(columns.step, columns.arm, columns.metric, columns.count, columns.total, columns.squares)
        with self.traces.connect() as connection:
            rows = connection.execute(query.where(columns.experiment == experiment.id)).all()
        return {(step, variant, metric): Sums(int(count), *sums) for step, variant, metric, count, *sums in rows}

    def units(self, experiment: Experiment) -> dict[str, int]:
        """Return the number of units that were seen in the current step, by variant."""
        columns = tables.experiment_unit.c
        in_step = (columns.experiment == experiment.id) & (columns.step == experiment.step)
        query = select(columns.arm, func.count()).where(in_step).group_by(columns.arm)
        with self.traces.connect() as connection:
            return {variant: int(count) for variant, count in connection.execute(query)}

    def close(self) -> None:
        """Close the connections to the database."""
        self.traces.close()


def _row(experiment: Experiment) -> dict[str, Any]:
    row = {name: getattr(experiment, name) for name in _FIELDS if name != "id"}
    is_active, answers = experiment.state in ACTIVE, experiment.kind != "shadow"
    # Unique columns: one active experiment of a name, and one that answers for a model.
    row["active_name"] = experiment.name if is_active else None
    row["active_model"] = experiment.model if is_active and answers else None
    return row | {"plan": serialize_plan(experiment.plan)}


def _write(connection: Connection, experiment: Experiment, row: Mapping[str, Any]) -> bool:
    columns = tables.experiment.c
    is_unchanged = (columns.id == experiment.id) & (columns.revision == experiment.revision)
    return bool(connection.execute(update(tables.experiment).where(is_unchanged).values(row)).rowcount)


def _delete_units(connection: Connection, experiment: Experiment) -> None:
    unit = tables.experiment_unit
    connection.execute(delete(unit).where(unit.c.experiment == experiment.id))


def experiment_from_row(row: Row[Any]) -> Experiment:
    """Return the experiment of a row of `COLUMNS`."""
    values = dict(zip(_FIELDS, row, strict=True))
    return Experiment(**values | {"plan": parse_plan(values["plan"])})


def _add_sums(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    table = tables.experiment_sums
    statement = _insert(connection)(table)
    added = {name: table.c[name] + statement.excluded[name] for name in ("count", "total", "squares")}
    keys = ["experiment", "step", "arm", "metric"]
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=added), rows)


def _add_units(connection: Connection, snapshot: Snapshot) -> None:
    table = tables.experiment_unit
    rows_by_step: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for (experiment, step, unit), variant in sorted(snapshot.units.items()):
        row = {"experiment": experiment, "step": step, "unit": unit, "arm": variant}
        rows_by_step.setdefault((experiment, step), []).append(row)
    for (experiment, step), rows in rows_by_step.items():
        in_step = (table.c.experiment == experiment) & (table.c.step == step)
        stored = connection.scalar(select(func.count()).select_from(table).where(in_step)) or 0
        # All or none: the rows are sorted by hash, so a part of them would be a biased sample of the units.
        if len(rows) <= MAX_UNITS - int(stored):
            connection.execute(_insert(connection)(table).on_conflict_do_nothing(), rows)


def _insert(connection: Connection) -> Any:
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
