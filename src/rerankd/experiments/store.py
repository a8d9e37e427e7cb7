"""Experiments as rows that all instances share: started, changed by one of them at a time, counted by all together."""

from __future__ import annotations

import dataclasses
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from rerankd.experiments.sequential_tests import Sums
from rerankd.traces.store import TraceStore

MAX_ACTIVE = 16
MAX_REASON = 500
_FIELDS = [field.name for field in dataclasses.fields(Experiment)]
COLUMNS = [tables.experiment.c[name] for name in _FIELDS]
SumsOf = Mapping[tuple[int, str, str], Sums]
"""By step, arm and metric."""


@dataclass(frozen=True, slots=True)
class ExperimentEvent:
    """Something that was decided about an experiment.

    Attributes:
        experiment: its name.
        action: `start`, `advance`, `promote`, `roll_back`, `stop`, `refuse`, `objective`, or `registry`.
        reason: one sentence.
        who: a person at the command line, or an instance.
        coverage: from then on.
        data: counts and bounds that it rests on.
        time: seconds since 1970.
    """

    experiment: str
    action: str
    reason: str
    who: str
    coverage: float
    data: Mapping[str, Any]
    time: float = 0.0


class ExperimentStore:
    """The experiments of a database of traces. Thread-safe.

    Args:
        traces: the database.

    Example:
        >>> store = ExperimentStore(TraceStore("sqlite:///traces.sqlite"))  # doctest: +SKIP
        >>> store.start(Experiment("new", "canary", "mini", "org/name"), "me")  # doctest: +SKIP
    """

    def __init__(self, traces: TraceStore) -> None:
        self.traces = traces

    def start(self, wanted: Experiment, who: str) -> Experiment:
        """Start an experiment at its first step.

        Raises:
            InvalidRequestError: something about it cannot be.
            ConflictError: its name runs already, or an experiment answers requests for its model.
            UnavailableError: the database cannot be reached.
        """
        now = time.time()
        plan = validate(wanted).plan
        new = replace(
            wanted,
            seed=wanted.seed or secrets.token_hex(8),
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
                running = connection.scalar(select(func.count()).where(tables.experiment.c.state.in_(ACTIVE)))
                if (running or 0) >= MAX_ACTIVE:
                    raise ConflictError(f"{running} experiments run.", hint="Stop one: rerankd rollout stop NAME.")
                row = _row(new) | {"told": False}
                [number] = connection.execute(insert(tables.experiment).values(row)).inserted_primary_key or (0,)
                new = replace(new, id=int(number))
                write_event(
                    connection, new, ExperimentEvent(new.name, "start", f"{new.kind} of {new.challenger}", who, 0.0, {})
                )
        except InvalidRequestError as error:
            if isinstance(error.__cause__, IntegrityError):
                raise ConflictError(
                    f"{new.name} runs already, or another experiment answers requests for {new.model}.",
                    hint="See: rerankd rollout status. End it: rerankd rollout stop NAME.",
                ) from None
            raise
        return new

    def active(self) -> list[Experiment]:
        """What is running or promoted, oldest first."""
        query = select(*COLUMNS).where(tables.experiment.c.state.in_(ACTIVE)).order_by(tables.experiment.c.id)
        with self.traces.connect() as connection:
            return [experiment_of(row) for row in connection.execute(query)]

    def latest(self, limit: int = 50) -> list[Experiment]:
        """The newest experiments, whatever became of them."""
        query = select(*COLUMNS).order_by(tables.experiment.c.id.desc()).limit(limit)
        with self.traces.connect() as connection:
            return [experiment_of(row) for row in connection.execute(query)]

    def named(self, name: str) -> Experiment:
        """The newest experiment of a name.

        Raises:
            NotFoundError: there was none.
        """
        own = tables.experiment.c
        query = select(*COLUMNS).where(own.name == name).order_by(own.id.desc()).limit(1)
        with self.traces.connect() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFoundError(f"There is no experiment {name[:100]!r}.", hint="See: rerankd rollout status.")
        return experiment_of(row)

    def change(self, known: Experiment, event: ExperimentEvent, **values: Any) -> Experiment | None:
        """Change an experiment unless somebody else did since it was read: of several only one wins.

        Args:
            known: as it was read.
            event: written with the change.
            values: attributes that become others.

        Returns:
            As it is now; None where somebody else was faster.
        """
        now = time.time()
        new = replace(known, **values, revision=known.revision + 1, changed=now)
        if new.step != known.step:
            new = replace(new, stepped=now)
        own = tables.experiment.c
        same = (own.id == known.id) & (own.revision == known.revision)
        with translate_errors(), self.traces.begin() as connection:
            if not connection.execute(update(tables.experiment).where(same).values(_row(new))).rowcount:
                return None
            write_event(connection, new, event)
            if new.state not in ACTIVE:  # who took part is nobody's business any more
                connection.execute(delete(tables.experiment_unit).where(tables.experiment_unit.c.experiment == new.id))
        return new

    def events(self, name: str | None = None, limit: int = 200) -> list[ExperimentEvent]:
        """What was decided, newest first."""
        held, own = tables.experiment_event.c, tables.experiment.c
        columns = (own.name, held.action, held.reason, held.who, held.coverage, held.data, held.time)
        query = select(*columns).join(tables.experiment, own.id == held.experiment)
        if name is not None:
            query = query.where(own.name == name)
        with self.traces.connect() as connection:
            rows = connection.execute(query.order_by(held.id.desc()).limit(limit)).all()
        return [ExperimentEvent(*row[:5], orjson.loads(row[5]), row[6]) for row in rows]

    def add(self, snapshot: Snapshot) -> None:
        """Add what an instance counted: all or nothing."""
        if not snapshot:
            return
        sums = [
            dict(zip(("experiment", "step", "arm", "metric"), key, strict=True)) | dataclasses.asdict(one)
            for key, one in sorted(snapshot.sums.items())  # in one order everywhere, so that no two wait for each other
        ]
        with translate_errors(), self.traces.begin() as connection:
            if sums:
                _add_sums(connection, sums)
            _add_units(connection, snapshot)

    def sums(self, known: Experiment) -> dict[tuple[int, str, str], Sums]:
        """What all instances counted, by step, arm and metric."""
        held = tables.experiment_sums.c
        columns = (held.step, held.arm, held.metric, held.count, held.total, held.squares)
        with self.traces.connect() as connection:
            rows = connection.execute(select(*columns).where(held.experiment == known.id)).all()
        return {(step, arm, metric): Sums(int(count), *numbers) for step, arm, metric, count, *numbers in rows}

    def units(self, known: Experiment) -> dict[str, int]:
        """Units that were seen in the experiment's step, by arm."""
        held = tables.experiment_unit.c
        own = (held.experiment == known.id) & (held.step == known.step)
        with self.traces.connect() as connection:
            rows = connection.execute(select(held.arm, func.count()).where(own).group_by(held.arm)).all()
        return {arm: int(count) for arm, count in rows}

    def close(self) -> None:
        """Let go of the database."""
        self.traces.close()


def _row(one: Experiment) -> dict[str, Any]:
    row = {name: getattr(one, name) for name in _FIELDS if name != "id"}
    active, answers = one.state in ACTIVE, one.kind != "shadow"
    names = {"active_name": one.name if active else None, "active_model": one.model if active and answers else None}
    return row | {"plan": serialize_plan(one.plan)} | names


def experiment_of(row: Row[Any]) -> Experiment:
    """A row of `COLUMNS`."""
    values = dict(zip(_FIELDS, row, strict=True))
    return Experiment(**values | {"plan": parse_plan(values["plan"])})


def write_event(connection: Connection, one: Experiment, event: ExperimentEvent) -> None:
    """Write what was decided."""
    values = {
        "experiment": one.id,
        "time": time.time(),
        "action": event.action,
        "reason": event.reason[:MAX_REASON],
        "who": event.who[:200],
        "coverage": one.coverage,
        "data": orjson.dumps(finite(event.data)).decode(),
    }
    connection.execute(insert(tables.experiment_event).values(values))


def finite(value: Any) -> Any:
    """The same with None for what is not known yet: JSON has no infinity.

    Example:
        >>> finite({"low": float("-inf"), "high": 0.5})
        {'low': None, 'high': 0.5}
    """
    if isinstance(value, Mapping):
        return {str(name): finite(one) for name, one in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _add_sums(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    held = tables.experiment_sums
    given = _insert(connection)(held)
    added = {name: held.c[name] + given.excluded[name] for name in ("count", "total", "squares")}
    keys = ["experiment", "step", "arm", "metric"]
    connection.execute(given.on_conflict_do_update(index_elements=keys, set_=added), rows)


def _add_units(connection: Connection, snapshot: Snapshot) -> None:
    held = tables.experiment_unit
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for (experiment, step, unit), arm in sorted(snapshot.units.items()):
        groups.setdefault((experiment, step), []).append(
            {"experiment": experiment, "step": step, "unit": unit, "arm": arm}
        )
    for (experiment, step), rows in groups.items():
        own = (held.c.experiment == experiment) & (held.c.step == step)
        room = MAX_UNITS - int(connection.scalar(select(func.count()).select_from(held).where(own)) or 0)
        # All or none of them: sorted as they are, a part would be one of the hashes and not of the units that came.
        if len(rows) <= room:
            connection.execute(_insert(connection)(held).on_conflict_do_nothing(), rows)


def _insert(connection: Connection) -> Any:
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
