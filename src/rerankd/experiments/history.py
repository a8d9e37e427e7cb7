"""History of experiments: every decision, and the numbers that it rests on."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, insert

from rerankd.database import tables
from rerankd.experiments.experiment import Experiment

MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class ExperimentEvent:
    """An entry of an experiment's history.

    Attributes:
        experiment: name of the experiment.
        action: `start`, `advance`, `promote`, `roll_back`, `stop`, `refuse`, `objective`, `registry`, or `end`.
        reason: one sentence.
        author: person at the command line, or instance.
        coverage: coverage from then on.
        data: numbers that the decision rests on.
        time: seconds since 1970; 0 for the time when it is written.
    """

    experiment: str
    action: str
    reason: str
    author: str
    coverage: float
    data: Mapping[str, Any]
    time: float = 0.0


def write_event(connection: Connection, experiment: Experiment, event: ExperimentEvent) -> None:
    """Add an event to the history of an experiment."""
    values = {
        "experiment": experiment.id,
        "time": event.time or time.time(),
        "action": event.action,
        "reason": event.reason[:MAX_REASON],
        "who": event.author[:200],
        "coverage": experiment.coverage,
        "data": orjson.dumps(finite(event.data)).decode(),
    }
    connection.execute(insert(tables.experiment_event).values(values))


def finite(value: Any) -> Any:
    """Return a value for JSON: infinities and NaN, which stand for bounds that are not known yet, become None.

    Example:
        >>> finite({"low": float("-inf"), "high": 0.5})
        {'low': None, 'high': 0.5}
    """
    if isinstance(value, Mapping):
        return {str(name): finite(entry) for name, entry in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
