"""Canaries simulated from the first step to the last, with a look after every few requests."""

from __future__ import annotations

import numpy as np
import pytest

from rerankd.experiments.guardrails import ExperimentPlan, Guardrail, Observations, check_guardrails, next_step
from rerankd.experiments.sequential_tests import Sums

RAILS = (Guardrail("errors", 0.01, hard_limit=0.5), Guardrail("slow", 0.05))
PLAN = ExperimentPlan(guardrails=RAILS, min_requests=200, min_seconds=0.0)
USUAL = {"errors": 0.01, "slow": 0.05}


def canary(
    harm: dict[str, float], seed: int, limit: int = 400_000, every: int = 200, plan: ExperimentPlan = PLAN
) -> tuple[str, int, float]:
    """Return the outcome, the requests of the canary until then, and the coverage."""
    draw = np.random.default_rng(seed)
    coverage = PLAN.steps[0]
    control = dict.fromkeys(USUAL, Sums())
    treated = dict.fromkeys(USUAL, Sums())
    units = [0, 0]
    step = 0
    for _ in range(0, limit, every):
        treated_units = int(draw.binomial(every, coverage))
        for name, rate in USUAL.items():
            bad = float(draw.binomial(every - treated_units, rate))
            control[name] += Sums(every - treated_units, bad, bad)
            bad = float(draw.binomial(treated_units, rate + harm.get(name, 0.0)))
            treated[name] += Sums(treated_units, bad, bad)
        # The split is judged within a step: coverage changes between them.
        units = [units[0] + every - treated_units, units[1] + treated_units]
        step += treated_units
        decision = check_guardrails(PLAN, coverage, Observations(control, treated, (units[0], units[1]), step, 1e9))
        if decision.action in ("roll_back", "stop"):
            return decision.action, treated["errors"].count, coverage
        if decision.action == "advance":
            following = next_step(PLAN, coverage)
            if following is None or following >= 1.0:
                return "promoted", treated["errors"].count, coverage
            coverage, units, step = following, [0, 0], 0
    return "waiting", treated["errors"].count, coverage


@pytest.mark.slow
def test_a_canary_that_is_like_the_champion_is_promoted_and_seldom_rolled_back() -> None:
    verdicts = [canary({}, seed)[0] for seed in range(200)]
    assert verdicts.count("roll_back") + verdicts.count("stop") <= 0.05 * len(verdicts)
    assert verdicts.count("promoted") >= 0.9 * len(verdicts)


@pytest.mark.parametrize(
    ("harm", "requests"), [({"errors": 0.02}, 12_000), ({"slow": 0.10}, 4000), ({"errors": 0.6}, 200)]
)
def test_harm_is_rolled_back(harm: dict[str, float], requests: int) -> None:
    canaries = [canary(harm, seed) for seed in range(40)]
    outcomes = [what for what, _, _ in canaries]
    assert set(outcomes) <= {"roll_back", "stop"}  # a sound split is snapshot for a broken one in 1 of 1,000 steps
    assert outcomes.count("roll_back") >= 38
    assert np.median([count for _, count, _ in canaries]) <= requests


def test_an_improvement_is_promoted() -> None:
    actions = [canary({"errors": -0.005, "slow": -0.03}, seed)[0] for seed in range(40)]
    assert actions.count("promoted") >= 38


def test_a_broken_split_stops() -> None:
    observations = Observations({}, {}, (900, 300), 300, 1e9)
    decision = check_guardrails(PLAN, 0.1, observations)
    assert decision.action == "stop"
    assert "split is broken" in decision.reason


def test_a_step_takes_its_time() -> None:
    good = {name: Sums(10_000, 100.0, 100.0) for name in USUAL}
    assert (
        check_guardrails(ExperimentPlan(guardrails=RAILS), 0.05, Observations(good, good, (1900, 100), 100, 1e9)).action
        == "wait"
    )
    assert (
        check_guardrails(
            ExperimentPlan(guardrails=RAILS), 0.05, Observations(good, good, (9500, 500), 500, 10.0)
        ).action
        == "wait"
    )
    assert (
        check_guardrails(
            ExperimentPlan(guardrails=RAILS), 0.05, Observations(good, good, (9500, 500), 500, 601.0)
        ).action
        == "advance"
    )


def test_what_is_seldom_measured_stops_nobody_before_it_is_known() -> None:
    rails = (RAILS[0], Guardrail("thumbs_down", 0.02, proof=False))
    good = {"errors": Sums(10_000, 0.0, 0.0)}
    few, bad = {"thumbs_down": Sums(10, 5.0, 5.0)}, {"thumbs_down": Sums(50, 6.0, 6.0)}
    usual = {"thumbs_down": Sums(1000, 50.0, 50.0)}
    plan = ExperimentPlan(guardrails=rails, min_seconds=0.0)

    def action(more: dict[str, Sums], used: ExperimentPlan = plan) -> str:
        return check_guardrails(used, 0.25, Observations(good | usual, good | more, (7500, 2500), 2500, 1.0)).action

    assert [action({}), action(few), action(bad)] == ["advance", "advance", "wait"]
    assert action({"thumbs_down": Sums(1000, 300.0, 300.0)}) == "roll_back"
    patient = ExperimentPlan(guardrails=rails, min_seconds=0.0, min_feedback=60)
    assert [action(few, patient), action({"thumbs_down": Sums(60, 0.0, 0.0)}, patient)] == ["wait", "advance"]


def test_what_is_tolerated_rolls_nothing_back() -> None:
    rails = (Guardrail("latency", 0.2, tolerance=0.1, proof=False),)
    plan = ExperimentPlan(guardrails=rails, min_seconds=0.0)

    def action(more: float) -> str:
        draw = np.random.default_rng(4)
        variants = [{"latency": Sums.of(draw.normal(mean, 0.5, 20_000).tolist())} for mean in (3.0, 3.0 + more)]
        return check_guardrails(plan, 0.5, Observations(variants[0], variants[1], (500, 500), 500, 1.0)).action

    assert [action(0.0), action(0.08), action(0.26)] == ["advance", "advance", "roll_back"]
