"""Simulated canaries: the requests until a challenger is rolled back or promoted, with periodic looks at the data.

python -m benchmarks.experiments [--runs 200]

Requests are drawn at random: 1 % errors, latency lognormal with a deviation of 0.5 (so that the 95th percentile is 2.3
times the median), 20 % of rankings with a click, and first choices on rank 1 with probability 0.6.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rerankd.experiments.guardrails import ExperimentPlan, Observations, check_guardrails, next_step
from rerankd.experiments.sequential_tests import Sums, sign_evidence
from rerankd.ranking.team_draft import interleave

LIMIT, EVERY = 2_000_000, 500
SIGMA, ERRORS, FEEDBACK = 0.5, 0.01, 0.2
LOSSES = np.array([0.0, 0.5, 2 / 3, 3 / 4, 4 / 5])
USUAL = (0.6, 0.2, 0.1, 0.06, 0.04)
PLAN = ExperimentPlan(min_seconds=0.0, min_feedback=1000)
STEPWISE = {rail.name for rail in PLAN.guardrails if rail.each_step}


@dataclass(frozen=True, slots=True)
class Defect:
    """Defect of a simulated challenger.

    Attributes:
        errors: additional share of failing requests.
        slower: factor on latency.
        rank_distribution: distribution of the first choice over ranks 1 to 5.
    """

    errors: float = 0.0
    slower: float = 1.0
    rank_distribution: Sequence[float] = USUAL


SCENARIOS = {
    "nothing": Defect(),
    "errors +2 points": Defect(errors=0.02),
    "latency +30 %": Defect(slower=1.3),
    "worse ranking: first choice at rank 1 in 0.45 instead of 0.6": Defect(
        rank_distribution=(0.45, 0.25, 0.15, 0.09, 0.06)
    ),
    "better: errors -0.5 points, latency -10 %": Defect(errors=-0.005, slower=0.9),
}


def drawn(draw: np.random.Generator, count: int, defect: Defect) -> dict[str, Sums]:
    """Draw the metric sums of that many requests."""
    failed = float(draw.binomial(count, ERRORS + defect.errors))
    spent = draw.normal(3.0 + np.log(defect.slower), SIGMA, count)
    slow = float((spent > 3.0 + 1.645 * SIGMA).sum())
    lost = draw.choice(LOSSES, draw.binomial(count, FEEDBACK), p=defect.rank_distribution)
    return {
        "errors": Sums(count, failed, failed),
        "timeouts": Sums(count),
        "empty": Sums(count),
        "latency": Sums(count, float(spent.sum()), float((spent * spent).sum())),
        "slow": Sums(count, slow, slow),
        "misplaced": Sums(len(lost), float(lost.sum()), float((lost * lost).sum())),
    }


def canary(defect: Defect, seed: int) -> tuple[str, int, int]:
    """Return the outcome, and the requests until then: of the challenger, and of both variants."""
    draw, coverage, step = np.random.default_rng(seed), PLAN.steps[0], 0
    control: Mapping[str, Sums] = {}
    treated: Mapping[str, Sums] = {}
    for total in range(EVERY, LIMIT, EVERY):
        challenger_requests = int(draw.binomial(EVERY, coverage))
        control, treated = (
            _sum(control, drawn(draw, EVERY - challenger_requests, Defect())),
            _sum(treated, drawn(draw, challenger_requests, defect)),
        )
        step += challenger_requests
        units = (round(total * (1 - coverage)), round(total * coverage))
        action = check_guardrails(PLAN, coverage, Observations(control, treated, units, step, 1e9)).action
        count = treated["errors"].count
        if action in ("roll_back", "stop"):
            return action, count, total
        if action == "advance":
            following = next_step(PLAN, coverage)
            if following is None:
                return "promote", count, total
            coverage, step = following, 0
            control, treated = (
                {name: one for name, one in sums.items() if name not in STEPWISE} for sums in (control, treated)
            )
    return "wait", treated["errors"].count, LIMIT


def _sum(one: Mapping[str, Sums], other: Mapping[str, Sums]) -> dict[str, Sums]:
    return {name: one.get(name, Sums()) + other.get(name, Sums()) for name in {*one, *other}}


def interleaved(better: float, seed: int, documents: int = 20) -> tuple[str, int]:
    """Return the outcome of interleaving a ranking with a noisier or less noisy one, and the clicks until then."""
    draw, wins, losses = np.random.default_rng(seed), 0, 0
    for clicks in range(1, 100_000):
        worth = draw.normal(size=documents)
        first, second = (np.argsort(-(worth + draw.normal(size=documents) * noise)) for noise in (1.0, better))
        interleaving = interleave(first.tolist(), second.tolist(), int(draw.integers(2**31)), 5)
        liked = max(interleaving.order, key=lambda one: float(worth[one]))
        credit = interleaving.credit([liked])
        wins, losses = wins + credit[1], losses + credit[0]
        if sign_evidence(wins, losses) >= 2 / PLAN.alpha:
            return ("promote" if wins > losses else "roll_back"), clicks
    return "wait", 100_000


def main() -> None:
    """Run the simulations and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    print("| canary | rolled back | promoted | requests of the challenger, median | 90 % | of both, median |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, defect in SCENARIOS.items():
        decisions = [canary(defect, seed) for seed in range(runs)]
        outcomes, challenger_requests, both = ([one[side] for one in decisions] for side in range(3))
        ended = [f"{outcomes.count(action) / runs:.1%}" for action in ("roll_back", "promote")]
        middle, high = np.quantile(np.array(challenger_requests, float), (0.5, 0.9))
        all_of_them = np.median(np.array(both, float))
        print(f"| {name} | {ended[0]} | {ended[1]} | {middle:,.0f} | {high:,.0f} | {all_of_them:,.0f} |")
    print("\n| interleaving | rolled back | promoted | rankings with a click, median | 90 % |")
    print("| --- | --- | --- | --- | --- |")
    for name, noise in (("a ranking with twice the noise", 2.0), ("with half the noise", 0.5)):
        pairs = [interleaved(noise, seed) for seed in range(runs)]
        ended = [f"{[one for one, _ in pairs].count(action) / runs:.1%}" for action in ("roll_back", "promote")]
        middle, high = np.quantile(np.array([clicks for _, clicks in pairs], float), (0.5, 0.9))
        print(f"| {name} | {ended[0]} | {ended[1]} | {middle:,.0f} | {high:,.0f} |")


if __name__ == "__main__":
    main()
