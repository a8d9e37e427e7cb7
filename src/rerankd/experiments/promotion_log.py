"""Log of promotions that are carried to the registry, in the database of experiments.

A promotion is claimed before the registry is changed, so that one instance at a time does it. A claim expires, so that
another instance takes over from one that died. Each record is an event of the experiment; the newest one is the status.
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
from rerankd.experiments.history import ExperimentEvent, write_event
from rerankd.experiments.store import COLUMNS, IS_ACTIVE, ExperimentStore, experiment_from_row

ACTION = "registry"
CLAIM_SECONDS = 900.0
PromotionPhase = Literal["begun", "waiting", "left", "moved", "refused", "moved_back", "not_moved_back"]
CLAIMED: tuple[PromotionPhase, ...] = ("begun", "waiting")
OPEN: tuple[PromotionPhase, ...] = (*CLAIMED, "left")


@dataclass(frozen=True, slots=True)
class Record:
    """Status of a promotion.

    Attributes:
        phase: `begun`; `waiting` until the next attempt; `left` for another instance; `moved` or `refused` when a
            promotion ends; `moved_back` or `not_moved_back` when a rollback ends.
        reason: one sentence.
        instance: instance that wrote it.
        time: seconds since 1970.
        data: further facts, such as version numbers.
    """

    phase: PromotionPhase
    reason: str
    instance: str
    time: float
    data: Mapping[str, Any]

    def is_claimable(self, instance: str) -> bool:
        """Return whether an instance may go on with the promotion now."""
        expired = time.time() - self.time > CLAIM_SECONDS
        return self.phase not in CLAIMED or self.instance == instance or expired


class PromotionLog:
    """Promotions and roll-backs that the registry has to follow. Thread-safe.

    Args:
        store: database of experiments.
    """

    def __init__(self, store: ExperimentStore) -> None:
        self._traces = store.traces

    def candidates(self) -> list[Experiment]:
        """Return promoted experiments in force, and claimed ones that were rolled back since, oldest first."""
        columns = tables.experiment.c
        is_promoted = (columns.state == "promoted") & IS_ACTIVE
        is_rolled_back = (columns.state == "rolled_back") & columns.told.is_(True)
        query = select(*COLUMNS).where(is_promoted | is_rolled_back).order_by(columns.id)
        with self._traces.connect() as connection:
            return [experiment_from_row(row) for row in connection.execute(query)]

    def last(self, experiment: Experiment) -> Record | None:
        """Return the newest record of an experiment, or None if there is none."""
        with self._traces.connect() as connection:
            return _last(connection, experiment)

    def claim(self, experiment: Experiment, instance: str, reason: str) -> bool:
        """Claim a promotion, and return whether the instance may change the registry now."""
        columns = tables.experiment.c
        is_unchanged = (columns.id == experiment.id) & (columns.state == experiment.state)
        with translate_errors(), self._traces.begin() as connection:
            # This locks the row, so the second of two claims sees the record of the first.
            if not connection.execute(update(tables.experiment).where(is_unchanged).values(told=True)).rowcount:
                return False
            last = _last(connection, experiment)
            if last is not None and not last.is_claimable(instance):
                return False
            _write(connection, experiment, "begun", reason, instance, {})
        return True

    def write(self, experiment: Experiment, phase: PromotionPhase, reason: str, instance: str, **data: Any) -> None:
        """Write the status of a promotion."""
        with translate_errors(), self._traces.begin() as connection:
            _write(connection, experiment, phase, reason, instance, data)

    def decision(self, experiment: Experiment, action: str) -> str:
        """Return reason and author of a promotion or roll-back; empty if the history has none."""
        columns = tables.experiment_event.c
        is_decision = (columns.experiment == experiment.id) & (columns.action == action)
        query = select(columns.reason, columns.who).where(is_decision).order_by(columns.id.desc()).limit(1)
        with self._traces.connect() as connection:
            row = connection.execute(query).first()
        return f"{row.reason} ({row.who})" if row else ""

    def forget(self, experiment: Experiment) -> None:
        """Drop the claim of an experiment that the registry has followed."""
        with translate_errors(), self._traces.begin() as connection:
            is_experiment = tables.experiment.c.id == experiment.id
            connection.execute(update(tables.experiment).where(is_experiment).values(told=False))


def _write(
    connection: Connection,
    experiment: Experiment,
    phase: PromotionPhase,
    reason: str,
    instance: str,
    data: Mapping[str, Any],
) -> None:
    record = {"phase": phase, **data}
    event = ExperimentEvent(experiment.name, ACTION, reason, instance, experiment.coverage, record)
    write_event(connection, experiment, event)


def _last(connection: Connection, experiment: Experiment) -> Record | None:
    columns = tables.experiment_event.c
    is_record = (columns.experiment == experiment.id) & (columns.action == ACTION)
    query = select(columns.reason, columns.who, columns.time, columns.data).where(is_record)
    row = connection.execute(query.order_by(columns.id.desc()).limit(1)).first()
    if row is None:
        return None
    data = orjson.loads(row.data)
    return Record(data.pop("phase", "refused"), row.reason, row.who, row.time, data)
