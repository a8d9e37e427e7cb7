"""The page of all decisions: moves are selected as events are, and every choice has its words."""

from __future__ import annotations

from pathlib import Path

from rerankd.console.history import ALL_ACTIONS, KINDS, MODEL_ACTIONS, HistoryQuery, model_entry, select_moves
from rerankd.console.messages import messages
from rerankd.experiments import decisions
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.store import ExperimentStore
from rerankd.registry.version import AliasMove
from rerankd.traces.store import TraceStore

MOVES = [
    AliasMove("rollback", "med", 2, 1, "lin (2)", 30.0, "worse"),
    AliasMove("promote", "med", 1, 2, "ops (1)", 20.0, "better", "passed"),
    AliasMove("promote", "legal", None, 1, "ops (1)", 10.0, "first", "missing", forced=True),
]


def test_every_choice_has_its_words() -> None:
    asked = {f"decide.kind_{kind}" for kind in KINDS}
    asked |= {f"models.action_{action}" for action in MODEL_ACTIONS}
    asked |= {f"experiments.action_{action}" for action in ALL_ACTIONS if action != "rollback"}
    assert asked <= set(messages())


def test_moves_are_selected() -> None:
    def times(**fields: object) -> list[float]:
        return [move.when for move in select_moves(MOVES, HistoryQuery.model_validate(fields))]

    assert times() == [30.0, 20.0, 10.0]
    assert times(name="med") == [30.0, 20.0]
    assert times(who="ops") == [20.0, 10.0]
    assert times(action="promote", before=15) == [10.0]
    assert times(who="nobody") == []
    assert model_entry(MOVES[2])["forced"]


def test_events_are_selected(tmp_path: Path) -> None:
    store = ExperimentStore(TraceStore(f"sqlite:///{tmp_path}/traces.sqlite"))
    store.start(Experiment("one", "canary", "mini", "org/name"), "ops (1)")
    decisions.stop(store, "one", "lin_100% (2)", "worse")
    last, first = store.events()
    assert store.events(author="ops") == [first]
    assert store.events(author="n_1") == store.events(author="0% (") == [last]
    assert store.events(author="n%1") == store.events(author="lin-100") == []
    assert store.events(action="stop") == store.events(limit=1) == [last]
    assert store.events(before=last.time) == [first]
