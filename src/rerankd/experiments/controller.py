"""Automatic decisions on running experiments. Every instance may run a controller; one of them wins each decision."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rerankd._common.logging import logger
from rerankd._common.plural import counted
from rerankd.experiments.experiment import CHALLENGER, CHAMPION, Experiment
from rerankd.experiments.feedback_metrics import FeedbackAggregator, merge_sums
from rerankd.experiments.guardrails import ExperimentDecision, Observations, check_guardrails, next_step
from rerankd.experiments.history import ExperimentEvent
from rerankd.experiments.router import challenger_share
from rerankd.experiments.sequential_tests import Sums, sign_evidence
from rerankd.experiments.store import ExperimentStore, SumsByMetric

OBJECTIVE_REQUESTS = 200
Z95 = 1.645  # quantile of the standard normal distribution at 0.95
_UNCOUNTED = {
    "user": "Requests without X-Rerankd-User",
    "session": "Requests without X-Rerankd-Session",
    "tenant": "Requests without an API key",
}
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class ExperimentStats:
    """Statistics that a decision on an experiment rests on.

    Attributes:
        observations: counts for the guardrails.
        wins: interleaved rankings that the challenger won.
        losses: interleaved rankings that the challenger lost.
    """

    observations: Observations
    wins: int = 0
    losses: int = 0


class Controller:
    """Decides on running experiments. Not thread-safe.

    Args:
        store: database of experiments.
        instance: name of the instance, for the history.
        on_decision: receives the action of each decision that this instance made.
    """

    def __init__(
        self,
        store: ExperimentStore,
        instance: str,
        on_decision: Callable[[str], None] = lambda action: None,
    ) -> None:
        self._store, self._instance, self._on_decision = store, instance, on_decision
        self._feedback: dict[int, FeedbackAggregator] = {}

    def review(self, experiments: Sequence[Experiment]) -> bool:
        """Decide on each experiment, and return whether one was changed.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        answering = [experiment for experiment in experiments if experiment.kind != "shadow"]
        self._feedback = {
            experiment.id: self._feedback.get(experiment.id) or FeedbackAggregator(experiment)
            for experiment in answering
        }
        changed = False
        for experiment in answering:
            if experiment.state == "running":
                changed = self._decide(experiment) or changed
        return changed

    def _decide(self, experiment: Experiment) -> bool:
        feedback = self._feedback[experiment.id]
        feedback.poll(self._store.traces)
        sums = self._store.sums(experiment)
        if self._set_objective(experiment, sums):
            return True
        stats = experiment_stats(experiment, sums, self._store.units(experiment), feedback)
        decision = decide(experiment, stats)
        if decision.action == "wait":
            return False
        record = decision_record(experiment, stats, decision)
        return apply_decision(self._store, experiment, decision, self._instance, record, on_decision=self._on_decision)

    def _set_objective(self, experiment: Experiment, sums: SumsByMetric) -> bool:
        """Fix the latency objective once the champion's latency is known; return whether that happened."""
        latency = _sums_of_variant(sums, CHAMPION).get("latency", Sums())
        if experiment.plan.objective_ms or latency.count < OBJECTIVE_REQUESTS:
            return False
        # The 95th percentile of a lognormal distribution, which fits latencies.
        objective = round(math.exp(latency.mean + Z95 * math.sqrt(latency.variance)), 3)
        reason = (
            f"a request is slow above {objective:g} ms, the champion's 95th percentile over {latency.count} requests"
        )
        event = ExperimentEvent(experiment.name, "objective", reason, self._instance, experiment.coverage, {})
        plan = replace(experiment.plan, objective_ms=objective)
        return self._store.update(experiment, event, plan=plan) is not None


def experiment_stats(
    experiment: Experiment, sums: SumsByMetric, units: Mapping[str, int], feedback: FeedbackAggregator
) -> ExperimentStats:
    """Return the statistics of an experiment.

    Args:
        experiment: experiment to decide on.
        sums: sums that instances counted.
        units: units seen in the current step, by variant.
        feedback: feedback on its rankings.
    """
    feedback_sums = feedback.sums()
    stepwise = {rail.name for rail in experiment.plan.guardrails if rail.each_step}
    # The load of a variant changes with the coverage, and its latency with the load.
    compared = {
        key: metric_sums for key, metric_sums in sums.items() if key[2] not in stepwise or key[0] == experiment.step
    }
    control, canary = (
        merge_sums(_sums_of_variant(compared, variant), feedback_sums[variant]) for variant in (CHAMPION, CHALLENGER)
    )
    observations = Observations(
        control=control,
        canary=canary,
        assigned=(units.get(CHAMPION, 0), units.get(CHALLENGER, 0)),
        step_requests=sums.get((experiment.step, CHALLENGER, "errors"), Sums()).count,
        step_seconds=time.time() - experiment.stepped,
        # An interleaved list belongs to both, so there is no split that could be broken.
        share=1.0 if experiment.kind == "interleave" else challenger_share(experiment),
    )
    wins, losses = feedback.wins()
    return ExperimentStats(observations, wins, losses)


def _sums_of_variant(sums: SumsByMetric, variant: str) -> dict[str, Sums]:
    totals: dict[str, Sums] = {}
    for (_, key_variant, metric), metric_sums in sums.items():
        if key_variant == variant:
            totals[metric] = totals.get(metric, Sums()) + metric_sums
    return totals


def decide(experiment: Experiment, stats: ExperimentStats) -> ExperimentDecision:
    """Decide on an experiment from its statistics. Pure.

    Feedback decides on interleaving, and guardrails can only end it. Each of the two tests takes half of alpha then, so
    that together they keep the error rate.
    """
    plan, observations = experiment.plan, stats.observations
    if experiment.kind != "interleave":
        decision = check_guardrails(plan, experiment.coverage, observations)
        if decision.action == "wait" and observations.step_requests < plan.min_requests:
            decision = replace(decision, reason=f"{decision.reason} {_UNCOUNTED[experiment.unit]} do not count.")
        return decision
    guarded = check_guardrails(replace(plan, alpha=plan.alpha / 2), experiment.coverage, observations)
    if guarded.action in ("roll_back", "stop"):
        return guarded
    wins, losses = stats.wins, stats.losses
    score = f"{counted(wins, 'ranking')} won and {losses} lost"
    if sign_evidence(wins, losses) < 2 / plan.alpha:
        return ExperimentDecision("wait", f"{score} so far.", guarded.bounds)
    if losses > wins:
        return ExperimentDecision("roll_back", f"The ranking is worse: {score}.", guarded.bounds)
    return ExperimentDecision("advance", f"The ranking is better: {score}.", guarded.bounds)


def decision_record(experiment: Experiment, stats: ExperimentStats, decision: ExperimentDecision) -> dict[str, Any]:
    """Return the numbers that a decision rests on, as the history keeps them."""
    observations = stats.observations
    return {
        "requests": {
            "champion": observations.control.get("errors", Sums()).count,
            "challenger": observations.canary.get("errors", Sums()).count,
            "step": observations.step_requests,
        },
        "units": {"champion": observations.assigned[0], "challenger": observations.assigned[1]},
        "coverage_before": experiment.coverage,
        "step_seconds": round(observations.step_seconds, 3),
        "wins": stats.wins,
        "losses": stats.losses,
        "bounds": {name: dataclasses.asdict(bounds) for name, bounds in decision.bounds.items()},
    }


def apply_decision(
    store: ExperimentStore,
    experiment: Experiment,
    decision: ExperimentDecision,
    decided_by: str,
    record: Mapping[str, Any],
    *,
    on_decision: Callable[[str], None] = lambda action: None,
    by_hand: bool = False,
) -> bool:
    """Apply a decision, and return whether it was this caller who changed the experiment.

    Args:
        store: database of experiments.
        experiment: experiment as it was read.
        decision: decision to apply; `advance` goes one step up, and promotes after the last step.
        decided_by: instance or person, for the history.
        record: numbers that the decision rests on.
        on_decision: receives the action if the experiment was changed.
        by_hand: True for a person's decision, which promotes also without `auto_promote`.
    """
    action, values = _transition(experiment, decision)
    if action == "promote" and not (by_hand or experiment.plan.auto_promote):
        return False  # it waits for a person
    event = ExperimentEvent(experiment.name, action, decision.reason, decided_by, experiment.coverage, record)
    updated = store.update(experiment, event, **values)
    if updated is None:
        return False
    _log.warning("%s: %s, coverage %g: %s", experiment.name, action, updated.coverage, decision.reason)
    on_decision(action)
    return True


def _transition(experiment: Experiment, decision: ExperimentDecision) -> tuple[str, dict[str, Any]]:
    """Return the action for the history and the new values of the experiment."""
    if decision.action == "roll_back":
        return "roll_back", {"state": "rolled_back", "coverage": 0.0}
    if decision.action == "stop":
        return "stop", {"state": "stopped", "coverage": 0.0}
    # Interleaving has no steps: it ends once the better ranking is known.
    following = None if experiment.kind == "interleave" else next_step(experiment.plan, experiment.coverage)
    if following is None:
        return "promote", {"state": "promoted", "coverage": 1.0, "step": experiment.step + 1}
    return "advance", {"coverage": following, "step": experiment.step + 1}
