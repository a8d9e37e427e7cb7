"""Which promotions others were told of, in the database of experiments: of several instances one at a time tells.

A promotion that others are told of is claimed first. A claim lasts for a while, so that another instance takes over
where one died. What came of it is an event of the experiment, and the newest says how things are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, select, update

from rerankd.database import tables
from rerankd.database.errors import translate_errors
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.store import COLUMNS, ExperimentEvent, ExperimentStore, experiment_of, write_event

ACTION = "registry"
CLAIM_SECONDS = 900.0
Phase = Literal["begun", "waiting", "left", "moved", "refused", "moved_back", "not_moved_back"]
HELD: tuple[Phase, ...] = ("begun", "waiting")
OPEN: tuple[Phase, ...] = (*HELD, "left")


@dataclass(frozen=True, slots=True)
class Record:
    """How far somebody is with telling others.

    Attributes:
        phase: `begun`, `waiting` for another attempt, or `left` to others; `moved` or `refused` at the end of a
            promotion, `moved_back` or `not_moved_back` at the end of one that was stopped.
        reason: one sentence.
        who: instance that wrote it.
        time: seconds since 1970.
        data: what else is known, such as numbers of versions.
    """

    phase: Phase
    reason: str
    who: str
    time: float
    data: Mapping[str, Any]

    def free(self, who: str) -> bool:
        """Whether somebody may go on with it now."""
        return self.phase not in HELD or self.who == who or time.time() - self.time > CLAIM_SECONDS


class PromotionLog:
    """What others were told of an experiment's promotion. Thread-safe.

    Args:
        store: where experiments are.
    """

    def __init__(self, store: ExperimentStore) -> None:
        self._traces = store.traces

    def candidates(self) -> list[Experiment]:
        """Promoted experiments, and those taken back of which others were told, oldest first."""
        own = tables.experiment.c
        taken_back = (own.state == "rolled_back") & own.told.is_(True)
        query = select(*COLUMNS).where((own.state == "promoted") | taken_back).order_by(own.id)
        with self._traces.connect() as connection:
            return [experiment_of(row) for row in connection.execute(query)]

    def last(self, known: Experiment) -> Record | None:
        """The newest entry about an experiment; None if there is none."""
        with self._traces.connect() as connection:
            return _last(connection, known)

    def claim(self, known: Experiment, who: str, reason: str) -> bool:
        """Whether the caller is the one who tells others now."""
        own = tables.experiment.c
        same = (own.id == known.id) & (own.state == known.state)
        with translate_errors(), self._traces.begin() as connection:
            # The row is locked by that, so of two who claim the second sees the first one's entry.
            if not connection.execute(update(tables.experiment).where(same).values(told=True)).rowcount:
                return False
            last = _last(connection, known)
            if last is not None and not last.free(who):
                return False
            _write(connection, known, "begun", reason, who, {})
        return True

    def note(self, known: Experiment, phase: Phase, reason: str, who: str, **data: Any) -> None:
        """Write how far it is."""
        with translate_errors(), self._traces.begin() as connection:
            _write(connection, known, phase, reason, who, data)

    def decision(self, known: Experiment, action: str) -> str:
        """Why an experiment was promoted or taken back, and by whom; empty if nothing tells."""
        held = tables.experiment_event.c
        own = (held.experiment == known.id) & (held.action == action)
        query = select(held.reason, held.who).where(own).order_by(held.id.desc()).limit(1)
        with self._traces.connect() as connection:
            row = connection.execute(query).first()
        return f"{row[0]} ({row[1]})" if row else ""

    def forget(self, known: Experiment) -> None:
        """Nobody need be told of an experiment any more."""
        own = tables.experiment.c
        with translate_errors(), self._traces.begin() as connection:
            connection.execute(update(tables.experiment).where(own.id == known.id).values(told=False))


def _write(
    connection: Connection, known: Experiment, phase: Phase, reason: str, who: str, data: Mapping[str, Any]
) -> None:
    write_event(
        connection, known, ExperimentEvent(known.name, ACTION, reason, who, known.coverage, {"phase": phase, **data})
    )


def _last(connection: Connection, known: Experiment) -> Record | None:
    held = tables.experiment_event.c
    own = (held.experiment == known.id) & (held.action == ACTION)
    query = select(held.reason, held.who, held.time, held.data).where(own).order_by(held.id.desc()).limit(1)
    row = connection.execute(query).first()
    if row is None:
        return None
    data = orjson.loads(row[3])
    return Record(data.pop("phase", "refused"), row[0], row[1], row[2], data)
