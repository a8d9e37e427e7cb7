"""An evaluation that a service runs: its plan, its state, and its progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
STATES: tuple[State, ...] = get_args(State)
UNFINISHED: tuple[State, ...] = ("queued", "running")
Source = Literal["folder", "cases"]


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """Plan of an evaluation.

    Attributes:
        source: `folder` for a BEIR folder, `cases` for labelled cases.
        dataset: name of the folder; empty for cases.
        models: names of the models that rerank.
        depth: candidates of a query at most.
        queries: queries at most, a fixed sample of a folder, and the latest cases.
    """

    source: Source
    dataset: str
    models: tuple[str, ...]
    depth: int
    queries: int


@dataclass(frozen=True, slots=True)
class SavedEvaluation:
    """An evaluation without its results.

    Attributes:
        id: number of the evaluation.
        created: time at which it was asked for, seconds since 1970.
        changed: time of the last sign of life.
        started: time at which scoring began; None before.
        finished: time at which it ended; None before.
        tenant: tenant whose evaluation it is; None for the administrators'.
        author: name of the person who asked for it.
        plan: what it does.
        state: `queued`, `running`, `done`, `failed`, `cancelled` or `interrupted`.
        done: pairs that are scored.
        total: pairs to score.
        error: reason of a failure; empty for none.
        headline: first measure of each system, for lists; empty before the end.
    """

    id: int
    created: float
    changed: float
    started: float | None
    finished: float | None
    tenant: str | None
    author: str
    plan: EvaluationPlan
    state: State
    done: int
    total: int
    error: str
    headline: Mapping[str, Any]

    @property
    def is_final(self) -> bool:
        """True once it has ended, in whatever way."""
        return self.state not in UNFINISHED
