"""State of an experiment as JSON values and sentences: counts, means, guardrails, and what would be decided now."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import func, select

from rerankd.database import tables
from rerankd.experiments.controller import ExperimentStats, decide, decision_record, experiment_stats
from rerankd.experiments.experiment import CHALLENGER, CHAMPION, Experiment
from rerankd.experiments.feedback_metrics import FeedbackAggregator
from rerankd.experiments.guardrails import GuardrailState, guardrail_state
from rerankd.experiments.metric_format import LATENCY
from rerankd.experiments.promotion_log import PromotionLog
from rerankd.experiments.store import ExperimentStore


def experiment_row(
    store: ExperimentStore, experiment: Experiment, feedback: FeedbackAggregator | None = None
) -> dict[str, Any]:
    """Return an experiment with its counts, means and the decision that would be made now.

    Args:
        store: store of the experiment.
        experiment: the experiment.
        feedback: feedback on its rankings, which is read up to now; None to leave feedback out, which is faster.
    """
    counted = FeedbackAggregator(experiment) if feedback is None else feedback
    if feedback is not None and experiment.kind != "shadow":
        feedback.poll(store.traces)
    stats = experiment_stats(experiment, store.sums(experiment), store.units(experiment), counted)
    decision = decide(experiment, stats)
    row = describe(experiment) | decision_record(experiment, stats, decision) | {"reason": ""}
    if experiment.state == "running" and experiment.kind != "shadow":
        row |= {"decision": decision.action, "reason": decision.reason}
    elif status := registry_status(store, experiment):
        row |= {"registry": status, "reason": status["reason"]}
    states: dict[str, GuardrailState] = {
        rail.name: guardrail_state(
            experiment.plan, rail, experiment.coverage, stats.observations, decision.bounds[rail.name]
        )
        for rail in experiment.plan.guardrails
        if rail.name in decision.bounds
    }
    return row | {"means": _means(stats), "guardrail_states": states}


def request_counts(store: ExperimentStore, experiments: Sequence[Experiment]) -> dict[int, dict[str, int]]:
    """Return the requests of champion and challenger in each experiment, by its id, with one query for all."""
    columns = tables.experiment_sums.c
    query = (
        select(columns.experiment, columns.arm, func.sum(columns.count))
        .where(columns.experiment.in_([experiment.id for experiment in experiments]), columns.metric == "errors")
        .group_by(columns.experiment, columns.arm)
    )
    counts = {experiment.id: {CHAMPION: 0, CHALLENGER: 0} for experiment in experiments}
    with store.traces.connect() as connection:
        for experiment_id, variant, count in connection.execute(query):
            counts[experiment_id][variant] = int(count)
    return counts


def registry_status(store: ExperimentStore, experiment: Experiment) -> dict[str, Any]:
    """Return how far the registry is with the experiment's promotion; empty if it has no part in it."""
    last = PromotionLog(store).last(experiment)
    return {} if last is None else {"phase": last.phase, "reason": last.reason, **last.data}


def _means(stats: ExperimentStats) -> dict[str, dict[str, Any]]:
    observations = stats.observations
    means: dict[str, dict[str, Any]] = {}
    for variant, sums in (("champion", observations.control), ("challenger", observations.canary)):
        for name, metric_sums in sorted(sums.items()):
            mean = {"count": metric_sums.count, "mean": metric_sums.mean}
            if name == LATENCY and metric_sums.count:  # the mean is that of logarithms
                mean["milliseconds"] = math.exp(metric_sums.mean)
            means.setdefault(name, {})[variant] = mean
    return means


def describe(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment as JSON values, with the margins of its guardrails."""
    return asdict(replace(experiment, plan=replace(experiment.plan, guardrails=()))) | {
        "guardrails": {rail.name: rail.margin for rail in experiment.plan.guardrails}
    }


def state_sentence(experiment: Experiment) -> str:
    """Return one sentence about the state of an experiment."""
    if experiment.state == "promoted":
        return f"{experiment.name} is promoted: its challenger answers all requests for {experiment.model}."
    if experiment.state != "running":
        return f"{experiment.name} is {experiment.state}: the champion answers all requests for {experiment.model}."
    coverage = f"{100 * experiment.coverage:.4g} % of {experiment.unit}s"
    return f"{experiment.name} is running: {experiment.kind} of {experiment.challenger} at {coverage}."
