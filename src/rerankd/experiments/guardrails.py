"""Guardrails of a canary, and the decision that they lead to: wait, advance, roll back or stop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from rerankd.errors import InvalidRequestError
from rerankd.experiments.metric_format import LATENCY, format_change
from rerankd.experiments.sequential_tests import ConfidenceBounds, Sums, difference, ratio_evidence

DecisionAction = Literal["wait", "advance", "roll_back", "stop"]
GuardrailState = Literal["holds", "unproven", "unknown", "broken"]
STEPS = (0.01, 0.05, 0.10, 0.25, 0.50, 1.0)
SAMPLE_RATIO_ALPHA = 0.001
MIN_UNPROVEN = 30
# Names under which plans and sums are stored, and which `--margin` takes.
NEGATIVE_FEEDBACK_RATE, RECIPROCAL_RANK_LOSS = "thumbs_down", "misplaced"
FROM_FEEDBACK = (NEGATIVE_FEEDBACK_RATE, RECIPROCAL_RANK_LOSS)


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A metric of a request; higher is worse.

    Attributes:
        name: `errors`, `timeouts`, `slow`, `empty`, `latency`, `thumbs_down` (negative feedback rate) or `misplaced`
            (reciprocal rank loss).
        margin: non-inferiority margin: largest increase of the mean that still allows the next step.
        hard_limit: mean of the challenger that rolls back at once, whatever the statistics say; None for none. Stored
            as `tripwire`.
        hard_limit_requests: requests of the challenger from which on the hard limit applies. Stored as
            `tripwire_requests`.
        tolerance: rolls back if the lower confidence bound of the increase exceeds this.
        proof: True requires the upper confidence bound to be below the margin, from `ExperimentPlan.proven_from` on.
            False requires only the mean to be below it, once both variants have `MIN_UNPROVEN` values; for metrics that
            not every request has.
        each_step: True to compare values of the same step only, for metrics that depend on the load of a variant; its
            share of alpha is divided among the steps then.
    """

    name: str
    margin: float
    hard_limit: Annotated[float | None, Field(alias="tripwire")] = None
    hard_limit_requests: Annotated[int, Field(alias="tripwire_requests")] = 20
    tolerance: float = 0.0
    proof: bool = True
    each_step: bool = False


# Latency is the natural logarithm of milliseconds: 0.1 is about ten percent more, 0.2 about a fifth.
DEFAULT_GUARDRAILS = (
    Guardrail("errors", 0.01, hard_limit=0.5),
    Guardrail("timeouts", 0.01, hard_limit=0.5),
    Guardrail("empty", 0.01, hard_limit=0.5),
    Guardrail("latency", 0.2, tolerance=0.1, proof=False, each_step=True),
    Guardrail("slow", 0.05, tolerance=0.02, proof=False, each_step=True),
    Guardrail(NEGATIVE_FEEDBACK_RATE, 0.02, proof=False),
    Guardrail(RECIPROCAL_RANK_LOSS, 0.02, proof=False),
)


def with_margins(margins: Mapping[str, float]) -> tuple[Guardrail, ...]:
    """Return the default guardrails with other margins.

    Args:
        margins: margins by name of the guardrail.

    Raises:
        InvalidRequestError: a name is unknown.

    Example:
        >>> next(rail.margin for rail in with_margins({"errors": 0.02}) if rail.name == "errors")
        0.02
    """
    rails = {rail.name: rail for rail in DEFAULT_GUARDRAILS}
    for name, margin in margins.items():
        if name not in rails:
            raise InvalidRequestError(f"Unknown guardrail {name[:100]!r}.", hint=f"Use one of: {', '.join(rails)}.")
        rails[name] = replace(rails[name], margin=margin)
    return tuple(rails.values())


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """Steps and limits of an experiment.

    Attributes:
        steps: coverages, in rising order.
        guardrails: metrics that can end the experiment.
        alpha: probability of a false alarm over all guardrails and checks of the whole experiment.
        min_requests: requests of the challenger in a step before an advance.
        min_seconds: seconds of a step before an advance.
        proven_from: coverage from which on an advance needs proof that nothing got worse. Below it, where little can be
            lost, it is enough that nothing looks worse.
        objective_ms: milliseconds over which a request is `slow`; 0 for the champion's 95th percentile.
        auto_promote: True to promote a proven challenger without a person.
        patience: seconds that the challenger has for a request before the champion answers it.
        min_feedback: rankings of the challenger with feedback that each advance from `proven_from` on needs.
    """

    steps: tuple[float, ...] = STEPS
    guardrails: tuple[Guardrail, ...] = DEFAULT_GUARDRAILS
    alpha: float = 0.05
    min_requests: int = 200
    min_seconds: float = 600.0
    proven_from: float = 0.10
    objective_ms: float = 0.0
    auto_promote: bool = True
    patience: float = 30.0
    min_feedback: int = 0


@dataclass(frozen=True, slots=True)
class Observations:
    """Counts since the experiment began.

    Attributes:
        control: sums of each guardrail for the champion; for `each_step` guardrails since the step began.
        canary: the same for the challenger.
        assigned: units of champion and challenger, for the sample ratio test.
        step_requests: requests of the challenger since the step began.
        step_seconds: seconds since the step began.
        share: share of units that the challenger should have; None for the coverage.
    """

    control: Mapping[str, Sums]
    canary: Mapping[str, Sums]
    assigned: tuple[int, int]
    step_requests: int
    step_seconds: float
    share: float | None = None


@dataclass(frozen=True, slots=True)
class ExperimentDecision:
    """An action and its reason.

    Attributes:
        action: `stop` ends an experiment whose traffic split is broken.
        reason: one sentence.
        bounds: confidence bounds of each guardrail's difference, challenger less champion.
    """

    action: DecisionAction
    reason: str
    bounds: Mapping[str, ConfidenceBounds]


def check_guardrails(plan: ExperimentPlan, coverage: float, observations: Observations) -> ExperimentDecision:
    """Decide whether to wait, advance, roll back or stop; valid after every request (sequential testing).

    Args:
        plan: plan of the experiment.
        coverage: share of units that take part now.
        observations: counts since the experiment began.

    Example:
        >>> check_guardrails(ExperimentPlan(), 0.01, Observations({}, {}, (0, 0), 0, 0.0)).action
        'wait'
    """
    alpha = plan.alpha / max(1, len(plan.guardrails))
    bounds: dict[str, ConfidenceBounds] = {}
    for rail in plan.guardrails:
        control, canary = _sums(observations.control, rail), _sums(observations.canary, rail)
        # One-sided at `alpha` is the two-sided confidence sequence at twice that.
        rail_alpha = alpha / len(plan.steps) if rail.each_step else alpha
        bounds[rail.name] = difference(control, canary, min(0.5, 2 * rail_alpha))
        if _reached_hard_limit(rail, canary):
            reason = f"{rail.name} reached its hard limit: {canary.mean:.1%} of the challenger's requests."
            return ExperimentDecision("roll_back", reason, bounds)
    expected_share = coverage if observations.share is None else observations.share
    if 0 < expected_share < 1 and (mismatch := _sample_ratio_mismatch(expected_share, observations.assigned)):
        return ExperimentDecision("stop", mismatch, bounds)
    for rail in plan.guardrails:
        bound = bounds[rail.name]
        if bound.low > rail.tolerance:
            rise, least = (format_change(rail.name, value) for value in (bound.mean, bound.low))
            reason = f"{rail.name} rose by {rise}, at least {least}."
            return ExperimentDecision("roll_back", reason, bounds)
    return _advance_or_wait(plan, coverage, observations, bounds)


def _advance_or_wait(
    plan: ExperimentPlan, coverage: float, observations: Observations, bounds: Mapping[str, ConfidenceBounds]
) -> ExperimentDecision:
    requests, seconds = observations.step_requests, observations.step_seconds
    if requests < plan.min_requests or seconds < plan.min_seconds:
        waits = f" after {seconds:.0f} of {plan.min_seconds:.0f} s" if seconds < plan.min_seconds else ""
        reason = f"This step has {requests} of {plan.min_requests} requests{waits}."
        return ExperimentDecision("wait", reason, bounds)
    rated = max(observations.canary.get(name, Sums()).count for name in FROM_FEEDBACK)
    if coverage >= plan.proven_from and rated < plan.min_feedback:
        reason = f"Only {rated} of {plan.min_feedback} required rankings have feedback."
        return ExperimentDecision("wait", reason, bounds)
    for rail in plan.guardrails:
        counts = (_sums(observations.control, rail).count, _sums(observations.canary, rail).count)
        if not rail.proof and min(counts) < MIN_UNPROVEN:
            continue
        worst = _compared_bound(plan, rail, coverage, bounds[rail.name])
        if worst > rail.margin:
            reason = _unproven(rail, worst)
            return ExperimentDecision("wait", reason, bounds)
    return ExperimentDecision("advance", "All guardrails hold.", bounds)


def guardrail_state(
    plan: ExperimentPlan, rail: Guardrail, coverage: float, observations: Observations, bound: ConfidenceBounds
) -> GuardrailState:
    """Return what is known of one guardrail.

    Args:
        plan: plan of the experiment.
        rail: guardrail of the plan.
        coverage: share of units that take part now.
        observations: counts since the experiment began.
        bound: confidence bounds of the guardrail's difference, as `check_guardrails` gives them.

    Returns:
        `holds` if it permits the next step; `unproven` if it may have increased by more than its margin; `unknown` as
        long as there are too few values; `broken` if it ends the experiment.
    """
    control, canary = _sums(observations.control, rail), _sums(observations.canary, rail)
    if bound.low > rail.tolerance or _reached_hard_limit(rail, canary):
        return "broken"
    worst = _compared_bound(plan, rail, coverage, bound)
    least = 2 if rail.proof else MIN_UNPROVEN
    if min(control.count, canary.count) < least or math.isinf(worst):
        return "unknown"
    return "unproven" if worst > rail.margin else "holds"


def _reached_hard_limit(rail: Guardrail, canary: Sums) -> bool:
    enough = canary.count >= rail.hard_limit_requests
    return rail.hard_limit is not None and enough and canary.mean >= rail.hard_limit


def _compared_bound(plan: ExperimentPlan, rail: Guardrail, coverage: float, bound: ConfidenceBounds) -> float:
    """Return the increase that must stay below the margin: the upper bound where proof is needed, or else the mean."""
    return bound.high if rail.proof and coverage >= plan.proven_from else bound.mean


def _unproven(rail: Guardrail, worst: float) -> str:
    if math.isinf(worst):
        return f"The change of {rail.name} is not known yet: both variants need two values."
    margin = format_change(rail.name, rail.margin).removeprefix("+") if rail.name == LATENCY else f"{rail.margin:g}"
    return f"{rail.name} may have increased by {format_change(rail.name, worst)}, above the margin of {margin}."


def _sums(values: Mapping[str, Sums], rail: Guardrail) -> Sums:
    return values.get(rail.name, Sums())


def _sample_ratio_mismatch(share: float, assigned: Sequence[int]) -> str:
    """Return a sentence if the split of units is not the expected one; empty if it is."""
    if ratio_evidence(assigned, (1 - share, share)) < 1 / SAMPLE_RATIO_ALPHA:
        return ""
    total = sum(assigned)
    return f"The split is broken: {assigned[1]} of {total} units in the canary, expected {share:.1%}."


def next_step(plan: ExperimentPlan, coverage: float) -> float | None:
    """Return the coverage of the next step, or None after the last one.

    Example:
        >>> next_step(ExperimentPlan(), 0.05), next_step(ExperimentPlan(), 1.0)
        (0.1, None)
    """
    return next((step for step in plan.steps if step > coverage + 1e-9), None)
