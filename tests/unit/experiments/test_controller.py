"""Complete canaries on a real database with planted numbers; docs state the requests that a harm takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankd.experiments.controller import Controller, decide, experiment_stats
from rerankd.experiments.counters import Counters, Snapshot
from rerankd.experiments.experiment import CHALLENGER, CHAMPION, Experiment, ExperimentKind
from rerankd.experiments.feedback_metrics import FeedbackAggregator
from rerankd.experiments.guardrails import ExperimentPlan, Observations
from rerankd.experiments.router import assign_route, challenger_share
from rerankd.experiments.sequential_tests import Sums
from rerankd.experiments.store import ExperimentStore
from rerankd.experiments.traffic import request_metrics
from rerankd.traces.store import TraceStore
from rerankd.types import RerankRequest

pytestmark = pytest.mark.slow

PLAN = ExperimentPlan(steps=(0.05, 0.25, 0.5, 1.0), min_requests=200, min_seconds=0.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ExperimentStore]:
    made = ExperimentStore(TraceStore(f"sqlite:///{tmp_path}/traces.sqlite"))
    yield made
    made.close()


def begun(store: ExperimentStore, kind: ExperimentKind = "canary", **plan: Any) -> Experiment:
    return store.start(Experiment("e", kind, "mini", "other", seed="s", plan=replace(PLAN, **plan)), "test")


def counted(
    one: Experiment, draw: np.random.Generator, requests: int, errors: float = 0.0, slower: float = 1.0
) -> Snapshot:
    """Record that many requests; the challenger fails more often and is slower."""
    counters = Counters()
    for number in draw.integers(0, 100_000, requests):
        route = assign_route(one, RerankRequest("q", [], user=f"user-{number}"))
        bad = draw.random() < 0.01 + (errors if route.variant == CHALLENGER else 0.0)
        spent = draw.lognormal(3.0, 0.5) * (slower if route.variant == CHALLENGER else 1.0)
        if route.participates:
            counters.add(
                one.id, one.step, route.variant, request_metrics(one, errors=bad, milliseconds=spent), route.unit
            )
    return counters.drain()


def run(store: ExperimentStore, seed: int, limit: int = 60, **harm: float) -> Experiment:
    """Return the outcome of a canary that is checked every 2,000 requests."""
    one, draw = begun(store), np.random.default_rng(seed)
    controller = Controller(store, "instance")
    for _ in range(limit):
        if one.state != "running":
            break
        store.add_counts(counted(one, draw, 2000, **harm))
        controller.review(store.active())
        one = store.get("e")
    return one


def test_errors_of_two_points_more_are_rolled_back(store: ExperimentStore) -> None:
    assert run(store, 1, errors=0.02).state == "rolled_back"
    event = store.events("e")[0]
    assert event.reason.startswith("errors rose by +0.0")
    assert event.data["requests"]["challenger"] < 15_000


def test_a_third_more_latency_is_rolled_back(store: ExperimentStore) -> None:
    one = run(store, 2, slower=1.3)
    assert one.state == "rolled_back"
    assert one.step == 0  # at 5 %
    event = store.events("e")[0]
    assert event.reason.startswith("latency rose by +30.9 %")
    assert event.data["requests"]["challenger"] < 2000


def test_what_is_as_good_is_promoted_step_by_step(store: ExperimentStore) -> None:
    one = run(store, 3, errors=-0.005, slower=0.9)
    assert (one.state, one.coverage) == ("promoted", 1.0)
    actions = [event.action for event in reversed(store.events("e"))]
    assert actions == ["start", "objective", "advance", "advance", "advance", "promote"]
    assert one.plan.objective_ms == pytest.approx(np.exp(3.0 + 1.645 * 0.5), rel=0.1)


@pytest.mark.slow
def test_what_is_the_same_is_never_rolled_back(store: ExperimentStore) -> None:
    for seed in range(5):
        one = run(store, 100 + seed, limit=30)
        assert one.state in ("running", "promoted")
        store.update(one, store.events("e")[0], state="stopped")


@pytest.mark.slow
def test_a_person_is_waited_for(store: ExperimentStore) -> None:
    one = begun(store, auto_promote=False, steps=(0.5,))
    draw, controller = np.random.default_rng(5), Controller(store, "instance")
    for _ in range(5):
        store.add_counts(counted(one, draw, 10_000))
        controller.review(store.active())
        one = store.get("e")
    assert one.state == "running"
    decision = decide(one, experiment_stats(one, store.sums(one), store.units(one), FeedbackAggregator(one)))
    assert decision.action == "advance"


def test_a_broken_split_stops(store: ExperimentStore) -> None:
    one, counters = begun(store, "split", steps=(1.0,)), Counters()
    for number in range(1000):
        counters.add(one.id, 0, CHALLENGER if number % 3 else CHAMPION, request_metrics(one), f"u{number}")
    store.add_counts(counters.drain())
    Controller(store, "instance").review(store.active())
    assert store.get("e").state == "stopped"
    assert "split is broken" in store.events("e")[0].reason
    assert store.events("e")[0].data["units"] == {"champion": 334, "challenger": 666}


def test_a_sound_split_goes_on(store: ExperimentStore) -> None:
    one = begun(store, "split", steps=(0.4, 1.0))
    store.add_counts(counted(one, np.random.default_rng(8), 20_000))
    assert challenger_share(one) == 0.5
    Controller(store, "instance").review(store.active())
    assert store.get("e").state == "running"


def interleaved(wins: int, losses: int, **plan: Any) -> str:
    one = Experiment("e", "interleave", "mini", "other", coverage=1.0, plan=ExperimentPlan(steps=(1.0,), **plan))
    stats = experiment_stats(one, {}, {}, FeedbackAggregator(one))
    return decide(one, replace(stats, wins=wins, losses=losses)).action


def test_feedback_decides_an_interleaving() -> None:
    assert [interleaved(*score) for score in ((0, 0), (6, 5), (3, 30), (30, 3))] == [
        "wait",
        "wait",
        "roll_back",
        "advance",
    ]


def test_a_worse_ranking_is_rolled_back() -> None:
    draw = np.random.default_rng(9)
    one = Experiment("e", "canary", "mini", "other", coverage=0.5, step=1, plan=PLAN)
    stats = experiment_stats(one, {}, {}, FeedbackAggregator(one))
    for rankings in range(100, 5000, 100):
        control, canary = (
            {"misplaced": Sums.of(draw.choice([0.0, 0.5, 0.67], rankings, p=p).tolist())}
            for p in ([0.7, 0.2, 0.1], [0.5, 0.3, 0.2])
        )
        observations = Observations(control, canary, (0, 0), 0, 0.0)
        if decide(one, replace(stats, observations=observations)).action == "roll_back":
            break
    assert rankings <= 1000


def test_latency_is_compared_within_a_step(store: ExperimentStore) -> None:
    """With little to do the challenger was fast; now that it has its half, it is slower than the champion."""
    one, draw = begun(store), np.random.default_rng(11)
    sums = {
        (step, variant, "latency"): Sums.of(draw.normal(mean, 0.5, 1000).tolist())
        for step, variant, mean in (
            (0, CHAMPION, 6.0),
            (0, CHALLENGER, 5.0),
            (1, CHAMPION, 5.0),
            (1, CHALLENGER, 5.3),
        )
    }
    actions = [
        decide(later, experiment_stats(later, sums, {}, FeedbackAggregator(later))).action
        for later in (one, replace(one, step=1, coverage=0.5))
    ]
    assert actions == ["wait", "roll_back"]
