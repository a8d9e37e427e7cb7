"""Looks at what all instances counted, decides, and writes the decision; of several instances one wins each time."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rerankd._common.logging import logger
from rerankd.experiments.experiment import CHALLENGER, CHAMPION, Experiment
from rerankd.experiments.feedback_metrics import FeedbackAggregator, merged
from rerankd.experiments.guardrails import ExperimentDecision, ExperimentPlan, Observations, check_guardrails, next_step
from rerankd.experiments.router import challenger_share
from rerankd.experiments.sequential_tests import Sums, sign_evidence
from rerankd.experiments.store import ExperimentEvent, ExperimentStore, SumsOf

OBJECTIVE_REQUESTS = 200
Z95 = 1.645  # of the 95th percentile of a normal distribution
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class ExperimentStats:
    """What is known of an experiment.

    Attributes:
        seen: for the guardrails.
        wins: interleaved rankings that the challenger won.
        losses: and those that it lost.
    """

    seen: Observations
    wins: int = 0
    losses: int = 0


class Controller:
    """Decides on running experiments. Not thread-safe; any number of instances may have one.

    Args:
        store: where experiments are.
        who: name of the instance, in the records of decisions.
        decided: told of each decision that this instance made.
    """

    def __init__(
        self,
        store: ExperimentStore,
        who: str,
        decided: Callable[[str], None] = lambda action: None,
    ) -> None:
        self._store, self._who, self._decided = store, who, decided
        self._said: dict[int, FeedbackAggregator] = {}

    def review(self, experiments: list[Experiment]) -> bool:
        """Decide on each; whether something was changed.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        self._said = {
            one.id: self._said.get(one.id) or FeedbackAggregator(one) for one in experiments if one.kind != "shadow"
        }
        changed = False
        for one in experiments:
            if one.state == "running" and one.kind != "shadow":
                changed = self._decide(one) or changed
        return changed

    def _decide(self, one: Experiment) -> bool:
        said = self._said[one.id]
        said.poll(self._store.traces)
        sums = self._store.sums(one)
        if self._measured(one, sums):
            return True
        evidence = experiment_stats(one, sums, self._store.units(one), said)
        decision = decide(one, evidence)
        if decision.action == "wait":
            return False
        return apply(self._store, one, decision, self._who, decision_record(one, evidence, decision), self._decided)

    def _measured(self, one: Experiment, sums: SumsOf) -> bool:
        """Fix the objective for latency, once the champion is known; whether that happened."""
        found = _of_arm(sums, CHAMPION).get("latency", Sums())
        if one.plan.objective_ms or found.count < OBJECTIVE_REQUESTS:
            return False
        # Of a lognormal distribution, which latencies are about.
        objective = round(math.exp(found.mean + Z95 * math.sqrt(found.variance)), 3)
        reason = f"slow is over {objective:g} ms, the champion's 95th percentile of {found.count} requests"
        event = ExperimentEvent(one.name, "objective", reason, self._who, one.coverage, {})
        return self._store.change(one, event, plan=replace(one.plan, objective_ms=objective)) is not None


def experiment_stats(
    one: Experiment, sums: SumsOf, units: Mapping[str, int], said: FeedbackAggregator
) -> ExperimentStats:
    """Put together what is known.

    Args:
        one: the experiment.
        sums: that instances counted.
        units: seen in its step, by arm.
        said: what people made of its rankings.
    """
    opinions = said.sums()
    stepwise = {rail.name for rail in one.plan.guardrails if rail.each_step}
    # What an arm has to do changes with the coverage, and its latency with that.
    compared = {key: held for key, held in sums.items() if key[2] not in stepwise or key[0] == one.step}
    control, canary = (merged(_of_arm(compared, arm), opinions[arm]) for arm in (CHAMPION, CHALLENGER))
    of_step = sums.get((one.step, CHALLENGER, "errors"), Sums()).count
    assigned = (units.get(CHAMPION, 0), units.get(CHALLENGER, 0))
    # An interleaved list is of both, so there is no split to be broken.
    share = 1.0 if one.kind == "interleave" else challenger_share(one)
    seconds = time.time() - one.stepped
    return ExperimentStats(Observations(control, canary, assigned, of_step, seconds, share), *said.wins())


def _of_arm(sums: SumsOf, arm: str) -> dict[str, Sums]:
    found: dict[str, Sums] = {}
    for (_, own, metric), one in sums.items():
        if own == arm:
            found[metric] = found.get(metric, Sums()) + one
    return found


def decide(one: Experiment, evidence: ExperimentStats) -> ExperimentDecision:
    """What to do; of interleaving feedback decides, and the guardrails can only end it. Pure.

    Both look at half of alpha then, so that together they are wrong no more often than it says.
    """
    if one.kind != "interleave":
        return check_guardrails(one.plan, one.coverage, evidence.seen)
    found = check_guardrails(_halved(one.plan), one.coverage, evidence.seen)
    if found.action in ("roll_back", "stop"):
        return found
    wins, losses = evidence.wins, evidence.losses
    score = f"{wins} rankings won and {losses} lost"
    if sign_evidence(wins, losses) < 2 / one.plan.alpha:
        return ExperimentDecision("wait", f"{score} so far.", found.bounds)
    if losses > wins:
        return ExperimentDecision("roll_back", f"The ranking is worse: {score}.", found.bounds)
    return ExperimentDecision("advance", f"The ranking is better: {score}.", found.bounds)


def _halved(plan: ExperimentPlan) -> ExperimentPlan:
    return replace(plan, alpha=plan.alpha / 2)


def decision_record(one: Experiment, evidence: ExperimentStats, decision: ExperimentDecision) -> dict[str, Any]:
    """What a decision rests on, as it is kept."""
    seen = evidence.seen
    return {
        "requests": {
            "champion": seen.control.get("errors", Sums()).count,
            "challenger": seen.canary.get("errors", Sums()).count,
            "step": seen.step_requests,
        },
        "units": {"champion": seen.assigned[0], "challenger": seen.assigned[1]},
        "coverage_before": one.coverage,
        "step_seconds": round(seen.step_seconds, 3),
        "wins": evidence.wins,
        "losses": evidence.losses,
        "bounds": {name: dataclasses.asdict(found) for name, found in decision.bounds.items()},
    }


def apply(
    store: ExperimentStore,
    one: Experiment,
    decision: ExperimentDecision,
    who: str,
    record: Mapping[str, Any],
    decided: Callable[[str], None] = lambda action: None,
    *,
    by_hand: bool = False,
) -> bool:
    """Write a decision; whether this was who wrote it.

    Args:
        store: where experiments are.
        one: the experiment as it was read.
        decision: `advance` goes one step up, and from the last step to the champion's place.
        who: decides.
        record: what it rests on.
        decided: told if it was written.
        by_hand: whether a person decides, who needs no permission to promote.
    """
    action, values = _change(one, decision)
    if action == "promote" and not (by_hand or one.plan.auto_promote):
        return False  # it waits for somebody
    event = ExperimentEvent(one.name, action, decision.reason, who, one.coverage, record)
    new = store.change(one, event, **values)
    if new is None:
        return False
    _log.warning("%s: %s, coverage %g: %s", one.name, action, new.coverage, decision.reason)
    decided(action)
    return True


def _change(one: Experiment, decision: ExperimentDecision) -> tuple[str, dict[str, Any]]:
    if decision.action == "roll_back":
        return "roll_back", {"state": "rolled_back", "coverage": 0.0}
    if decision.action == "stop":
        return "stop", {"state": "stopped", "coverage": 0.0}
    # The best of two rankings is known when interleaving ends; there is nothing to go up.
    following = None if one.kind == "interleave" else next_step(one.plan, one.coverage)
    if following is None:
        return "promote", {"state": "promoted", "coverage": 1.0, "step": one.step + 1}
    return "advance", {"coverage": following, "step": one.step + 1}
