"""Decisions of people: once for each intention, with who and why, and refused on an older state."""

from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.errors import ConflictError, InvalidRequestError
from rerankd.experiments.counters import Counters
from rerankd.experiments.decisions import Seen, advance, following_action, stop, stop_all
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.guardrails import ExperimentPlan, with_margins
from rerankd.experiments.plans import default_plan, format_steps, parse_steps
from rerankd.experiments.status import experiment_row, request_counts
from rerankd.experiments.store import ExperimentStore
from rerankd.traces.store import TraceStore

ME = "ops (1a2b3c4d)"


@pytest.fixture
def store(tmp_path: Path) -> ExperimentStore:
    return ExperimentStore(TraceStore(f"sqlite:///{tmp_path}/traces.sqlite"))


def started(
    store: ExperimentStore, name: str = "new", steps: tuple[float, ...] = (0.1, 0.5), **fields: str
) -> Experiment:
    experiment = Experiment(name, "canary", fields.get("model", "mini"), "org/name", plan=ExperimentPlan(steps=steps))
    return store.start(experiment, ME, fields.get("why", ""))


def test_advancing_records_who_why_and_the_numbers_of_the_moment(store: ExperimentStore) -> None:
    experiment = started(store, why="it won offline")
    counters = Counters()
    for number in range(5):
        counters.add(experiment.id, 0, "challenger", {"errors": 0.0}, f"unit {number}")
    store.add_counts(counters.drain())
    assert advance(store, "new", ME, " looks\n good\0 ").coverage == 0.5
    last, first = store.events("new")
    assert (last.action, last.author, last.reason) == ("advance", ME, "looks good")
    assert last.data["requests"] == {"champion": 0, "challenger": 5, "step": 5}
    assert last.data["coverage_before"] == 0.1
    assert (first.action, first.reason) == ("start", "canary of org/name: it won offline")


def test_a_decision_on_an_older_state_is_refused_and_changes_nothing(store: ExperimentStore) -> None:
    experiment = started(store)
    seen = Seen(experiment.id, experiment.step, experiment.state)
    advance(store, "new", ME, seen=seen)
    with pytest.raises(ConflictError, match="running at 50 %"):
        advance(store, "new", "somebody else", seen=seen)
    assert [event.action for event in store.events("new")] == ["advance", "start"]


def test_whoever_stops_a_running_experiment_does_not_undo_its_promotion(store: ExperimentStore) -> None:
    experiment = started(store, steps=(1.0,))
    assert advance(store, "new", ME).state == "promoted"
    with pytest.raises(ConflictError, match="promoted at 100 %"):
        stop(store, "new", ME, seen=Seen(experiment.id, 0, "running"))
    assert stop(store, "new", ME, seen=Seen(experiment.id, 1, "promoted")).state == "rolled_back"


def test_stopping_twice_stops_once(store: ExperimentStore) -> None:
    seen = Seen(started(store).id, 0, "running")
    assert {stop(store, "new", ME, "too slow", seen=seen).state for _ in range(2)} == {"stopped"}
    assert [event.action for event in store.events("new")] == ["stop", "start"]
    started(store)  # another experiment of the name
    for decide in (advance, stop):
        with pytest.raises(ConflictError, match="running at 10 %"):
            decide(store, "new", ME, seen=seen)


def test_the_kill_switch_stops_all_and_names_the_reason(store: ExperimentStore) -> None:
    started(store)
    started(store, "other", model="medical", steps=(1.0,))
    advance(store, "other", ME)
    assert {experiment.state for experiment in stop_all(store, ME, "incident 7")} == {"stopped", "rolled_back"}
    assert stop_all(store, ME, "again") == []
    assert [event.reason for event in store.events()][:2] == ["incident 7", "incident 7"]


def test_keeping_the_registry_needs_a_promotion_that_it_knows(store: ExperimentStore) -> None:
    started(store)
    with pytest.raises(ConflictError, match="is not the challenger of new"):
        stop(store, "new", ME, keep=True)
    assert store.get("new").state == "running"


def test_what_advancing_would_do(store: ExperimentStore) -> None:
    experiment = started(store, steps=(0.1, 1.0))
    assert following_action(experiment) == "advance"
    assert following_action(advance(store, "new", ME)) == "promote"
    assert following_action(advance(store, "new", ME)) is None
    assert following_action(Experiment("s", "shadow", "mini", "org/name")) is None
    with pytest.raises(ConflictError, match="promoted"):
        advance(store, "new", ME)


def test_each_guardrail_has_a_state(store: ExperimentStore) -> None:
    experiment = started(store, steps=(0.05, 0.5))
    counters = Counters()
    for variant, error in (("champion", 0.0), ("challenger", 1.0)):
        for number in range(400):
            values = {"errors": error if number % 3 == 0 else 0.0, "timeouts": 0.0}
            counters.add(experiment.id, 0, variant, values, f"{variant} {number}")
    store.add_counts(counters.drain())
    row = experiment_row(store, experiment)
    other = started(store, "other", model="medical")
    assert request_counts(store, [experiment, other]) == {
        experiment.id: {name: row["requests"][name] for name in ("champion", "challenger")},
        other.id: {"champion": 0, "challenger": 0},
    }
    states = row["guardrail_states"]
    assert (row["decision"], states["errors"], states["latency"]) == ("stop", "broken", "unknown")
    assert states["timeouts"] == "holds"  # below proven_from it is enough that nothing looks worse


def test_plans_of_each_kind_and_margins_by_name() -> None:
    assert default_plan("canary").auto_promote
    assert not default_plan("split").auto_promote
    assert parse_steps(format_steps(default_plan("split").steps)) == default_plan("split").steps
    with pytest.raises(InvalidRequestError, match="not a list of steps"):
        parse_steps("1;2")
    with pytest.raises(InvalidRequestError, match="Unknown guardrail"):
        with_margins({"eror": 0.1})
