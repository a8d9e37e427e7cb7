"""State of an experiment as rows, sentences and tables, for `rerankd rollout`."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from rich.table import Table

from rerankd.cli.output import stdout

if TYPE_CHECKING:
    from rerankd.experiments.controller import ExperimentStats
    from rerankd.experiments.experiment import Experiment
    from rerankd.experiments.store import ExperimentStore


def experiment_row(store: ExperimentStore, experiment: Experiment, *, with_feedback: bool) -> dict[str, Any]:
    """Return an experiment with its counts, means and the decision that would be made now.

    Args:
        store: store of the experiment.
        experiment: the experiment.
        with_feedback: True to read its feedback, which takes longer.
    """
    from rerankd.experiments.controller import decide, decision_record, experiment_stats
    from rerankd.experiments.feedback_metrics import FeedbackAggregator

    feedback = FeedbackAggregator(experiment)
    if with_feedback and experiment.kind != "shadow":
        feedback.poll(store.traces)
    stats = experiment_stats(experiment, store.sums(experiment), store.units(experiment), feedback)
    decision = decide(experiment, stats)
    row = describe(experiment) | decision_record(experiment, stats, decision) | {"reason": ""}
    if experiment.state == "running" and experiment.kind != "shadow":
        row |= {"decision": decision.action, "reason": decision.reason}
    elif status := registry_status(store, experiment):
        row |= {"registry": status, "reason": status["reason"]}
    return row | {"means": _means(stats)}


def registry_status(store: ExperimentStore, experiment: Experiment) -> dict[str, Any]:
    """Return how far the registry is with the experiment's promotion; empty if it has no part in it."""
    from rerankd.experiments.promotion_log import PromotionLog

    last = PromotionLog(store).last(experiment)
    return {} if last is None else {"phase": last.phase, "reason": last.reason, **last.data}


def _means(stats: ExperimentStats) -> dict[str, dict[str, Any]]:
    from rerankd.experiments.metric_format import LATENCY

    observations = stats.observations
    means: dict[str, dict[str, Any]] = {}
    for variant, sums in (("champion", observations.control), ("challenger", observations.canary)):
        for name, metric_sums in sorted(sums.items()):
            mean = {"count": metric_sums.count, "mean": metric_sums.mean}
            if name == LATENCY and metric_sums.count:  # the mean is that of logarithms
                mean["milliseconds"] = math.exp(metric_sums.mean)
            means.setdefault(name, {})[variant] = mean
    return means


def print_means(row: dict[str, Any]) -> None:
    """Print the mean of each metric and variant, with the bounds of the difference."""
    from rerankd.experiments.metric_format import format_change, format_mean, metric_label

    table = Table("mean of", "champion", "values", "challenger", "values", "difference, at least", "at most")
    for name, variants in row["means"].items():
        cells = [metric_label(name)]
        for variant in ("champion", "challenger"):
            sums = variants.get(variant)
            cells += [format_mean(name, sums["mean"]), str(sums["count"])] if sums and sums["count"] else ["", ""]
        bounds = row["bounds"].get(name)
        table.add_row(*cells, *(format_change(name, bounds[side]) if bounds else "" for side in ("low", "high")))
    stdout().print(table)


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
