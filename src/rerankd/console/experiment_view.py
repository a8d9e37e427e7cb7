"""Content of the pages of experiments: coverage steps, variants, and guardrails with their intervals. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rerankd.console.formats import moment
from rerankd.console.language import Language
from rerankd.console.messages import message
from rerankd.experiments.decisions import following_action
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.guardrails import FROM_FEEDBACK, Guardrail, next_step
from rerankd.experiments.history import ExperimentEvent
from rerankd.experiments.metric_format import LATENCY, format_change, format_mean
from rerankd.models.reference import REGISTRY
from rerankd.server.paths import CONSOLE

METRICS = ("errors", "timeouts", "empty", "latency", "slow", "thumbs_down", "misplaced", "top1", "rbo", "tau")
ACTIONS = ("start", "advance", "promote", "roll_back", "stop", "refuse", "objective", "registry", "end")
VARIANTS = ("champion", "challenger")
WIDEST = 4.0  # an interval bar shows this many times the limit on each side; wider intervals are cut
SMALLEST_SPAN = 0.001
StepState = Literal["done", "current", "ahead"]


def experiment_content(
    experiment: Experiment, row: Mapping[str, Any], events: Sequence[ExperimentEvent], *, in_force: bool
) -> dict[str, Any]:
    """Return the content of an experiment's page.

    Args:
        experiment: the experiment.
        row: its state, as `experiment_row` gives it.
        events: its history, newest first.
        in_force: True if it decides who answers requests now.
    """
    following = following_action(experiment)
    return {
        "experiment": summary(experiment, row, in_force=in_force),
        "steps": steps(experiment),
        "variants": [
            {"name": name, "requests": row["requests"][name], "units": row["units"][name]} for name in VARIANTS
        ],
        "wins": row["wins"],
        "losses": row["losses"],
        "progress": progress(experiment, row),
        **_metrics(experiment, row),
        "following": following,
        "following_coverage": next_step(experiment.plan, experiment.coverage) if following == "advance" else None,
        "can_keep": experiment.state == "promoted" and row.get("registry", {}).get("phase") == "moved",
        "history": [history_entry(event) for event in events],
    }


def _metrics(experiment: Experiment, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return guardrails and other metrics; shadow traffic has none of the former, since it answers nobody."""
    if experiment.kind == "shadow":
        return {"guardrails": [], "other_metrics": [_shadow_metric(name, row) for name in row["means"]]}
    rails = {rail.name: guardrail(rail, row) for rail in experiment.plan.guardrails}
    others = [metric(name, row) for name in row["means"] if name not in rails]
    return {"guardrails": list(rails.values()), "other_metrics": others}


def _shadow_metric(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a metric of shadow traffic, whose latency is the logarithm of its ratio to the champion's."""
    content = metric(name, row)
    mean = content["challenger"]["mean"]
    if name == LATENCY and mean is not None:
        content["challenger"] |= {"text": f"{math.exp(mean):.2f} \N{MULTIPLICATION SIGN}"}
    return content


def summary(experiment: Experiment, row: Mapping[str, Any], *, in_force: bool) -> dict[str, Any]:
    """Return what a list shows of an experiment, and its page at the top."""
    names = ("id", "name", "kind", "model", "challenger", "unit", "seed", "state", "coverage", "step", "revision")
    times = ("created", "changed", "stepped")
    return {name: getattr(experiment, name) for name in (*names, *times)} | {
        "in_force": in_force,
        "requests": row["requests"],
        "decision": row.get("decision"),
        "reason": row["reason"],
        "alpha": experiment.plan.alpha,
        "proven_from": experiment.plan.proven_from,
        "objective_ms": experiment.plan.objective_ms,
        "auto_promote": experiment.plan.auto_promote,
        "patience": experiment.plan.patience,
        "version_page": version_page(experiment.challenger),
    }


def version_page(challenger: str) -> str:
    """Return the address of the page of a registered version; empty for a challenger from elsewhere.

    Example:
        >>> version_page("registry:medical@8"), version_page("org/name@main")
        ('/console/models/medical/versions/8', '')
    """
    name, _, number = challenger.removeprefix(REGISTRY).rpartition("@")
    is_version = challenger.startswith(REGISTRY) and name.isascii() and number.isdecimal()
    return f"{CONSOLE}/models/{name}/versions/{number}" if is_version else ""


def steps(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the coverage steps of an experiment, with the present one marked.

    Example:
        >>> steps(Experiment("new", "canary", "mini", "org/name", coverage=0.05))[:2]
        [{'coverage': 0.01, 'state': 'done'}, {'coverage': 0.05, 'state': 'current'}]
    """
    return [{"coverage": step, "state": _step_state(experiment, step)} for step in experiment.plan.steps]


def _step_state(experiment: Experiment, step: float) -> StepState:
    if experiment.state == "promoted":
        return "done"
    if math.isclose(step, experiment.coverage):
        return "current"
    return "done" if step < experiment.coverage else "ahead"


def progress(experiment: Experiment, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return how much of what the next step needs is there; empty where no step follows."""
    if following_action(experiment) is None or experiment.kind == "interleave":
        return []
    plan = experiment.plan
    parts = [
        {"name": "requests", "value": row["requests"]["step"], "least": plan.min_requests},
        {"name": "seconds", "value": round(row["step_seconds"]), "least": round(plan.min_seconds)},
    ]
    if plan.min_feedback and experiment.coverage >= plan.proven_from:
        rated = max(row["means"].get(name, {}).get("challenger", {}).get("count", 0) for name in FROM_FEEDBACK)
        parts.append({"name": "feedback", "value": rated, "least": plan.min_feedback})
    return parts


def metric(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a metric with its mean and count in each variant."""
    means = row["means"].get(name, {})
    values = {
        variant: {
            "count": sums["count"],
            "mean": sums["mean"] if sums["count"] else None,
            "text": format_mean(name, sums["mean"]) if sums["count"] else None,
        }
        for variant in VARIANTS
        for sums in [means.get(variant) or {"count": 0, "mean": 0.0}]
    }
    return {"name": name, "is_known": name in METRICS, **values}


def guardrail(rail: Guardrail, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a guardrail with its limits, the confidence interval of the difference, and its state."""
    bound = row["bounds"].get(rail.name)
    is_known = bound is not None and math.isfinite(bound["low"]) and math.isfinite(bound["high"])
    limits = {"margin": rail.margin, "tolerance": rail.tolerance, "hard_limit": rail.hard_limit}
    return (
        metric(rail.name, row)
        | limits
        | {
            "margin_text": format_change(rail.name, rail.margin),
            "state": row["guardrail_states"].get(rail.name, "unknown"),
            "difference": _difference(rail.name, bound) if is_known else None,
            "bar": interval_bar(rail.margin, rail.tolerance, **bound) if is_known else None,
        }
    )


def _difference(name: str, bound: Mapping[str, float]) -> dict[str, Any]:
    texts = {f"{side}_text": format_change(name, bound[side]) for side in ("low", "mean", "high")}
    return dict(bound) | texts


def interval_bar(margin: float, tolerance: float, *, low: float, mean: float, high: float) -> dict[str, Any]:
    """Return the positions of an interval on a bar from 0 to 1 whose middle is no difference.

    Args:
        margin: largest increase that permits the next step.
        tolerance: increase beyond which the experiment ends, if the whole interval lies beyond it.
        low: lower confidence bound of the difference.
        mean: difference.
        high: upper confidence bound.

    Returns:
        Positions of `low`, `mean`, `high`, `zero`, `margin` and `tolerance`, and whether the interval was cut at either
        side.

    Example:
        >>> interval_bar(0.02, 0.0, low=-0.01, mean=0.0, high=0.01)["margin"]
        0.75
    """
    limit = max(margin, tolerance, SMALLEST_SPAN)
    span = min(max(abs(low), abs(high), 2 * limit), max(WIDEST * limit, 1.2 * abs(mean)))

    def position(value: float) -> float:
        return round(min(1.0, max(0.0, 0.5 + value / (2 * span))), 4)

    named = {"low": low, "mean": mean, "high": high, "zero": 0.0, "margin": margin, "tolerance": tolerance}
    return {name: position(value) for name, value in named.items()} | {
        "cut_low": low < -span,
        "cut_high": high > span,
    }


def history_entry(event: ExperimentEvent) -> dict[str, Any]:
    """Return an entry of the history."""
    return {
        "time": event.time,
        "experiment": event.experiment,
        "action": event.action,
        "author": event.author,
        "reason": event.reason,
        "coverage": event.coverage,
        "data": event.data,
        "is_known": event.action in ACTIONS,
    }


def interval_history(
    experiment: Experiment, row: Mapping[str, Any], events: Sequence[ExperimentEvent]
) -> dict[str, list[dict[str, Any]]]:
    """Return the confidence bounds of each guardrail at each decision, and now; oldest first.

    Guardrails whose bounds were known at fewer than two moments are left out.
    """
    moments: list[tuple[float | None, Mapping[str, Any], float | None]] = [
        (event.time, event.data.get("bounds", {}), event.data.get("coverage_before"))
        for event in reversed(events)
        if event.time >= experiment.created
    ]
    moments.append((None, row["bounds"], experiment.coverage))
    intervals: dict[str, list[dict[str, Any]]] = {}
    for rail in experiment.plan.guardrails:
        points = [
            {"time": time, "coverage": coverage, "margin": rail.margin, **bounds[rail.name]}
            for time, bounds, coverage in moments
            if _is_known(bounds.get(rail.name))
        ]
        if len(points) > 1:
            intervals[rail.name] = points
    return intervals


def interval_charts(intervals: Mapping[str, Sequence[Mapping[str, Any]]], language: Language) -> list[dict[str, Any]]:
    """Return a chart of each guardrail's confidence bounds over time, against its limit.

    Args:
        intervals: bounds, as `interval_history` returns them.
        language: language of the names.
    """

    def chart(name: str, points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        series = [
            {
                "name": message(f"experiments.bound_{side}", language),
                "values": [_shown(name, point[side]) for point in points],
            }
            for side in ("high", "mean", "low", "margin")
        ]
        labels = [
            message("experiments.now", language) if point["time"] is None else moment(point["time"]) for point in points
        ]
        unit = message("experiments.relative_change" if name == LATENCY else "experiments.difference", language)
        return {"name": name, "chart": {"kind": "line", "labels": labels, "series": series, "unit": unit}}

    return [chart(name, points) for name, points in intervals.items()]


def _shown(name: str, value: float) -> float:
    return math.expm1(value) if name == LATENCY else value


def _is_known(bound: Mapping[str, float | None] | None) -> bool:
    return bound is not None and all(value is not None and math.isfinite(value) for value in bound.values())
