"""What a canary must not do, and the decision after each look: wait, advance, or roll back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rerankd.experiments.sequential_tests import ConfidenceBounds, Sums, difference, ratio_evidence

Action = Literal["wait", "advance", "roll_back", "stop"]
STEPS = (0.01, 0.05, 0.10, 0.25, 0.50, 1.0)
SAMPLE_RATIO_ALPHA = 0.001
FEW = 30
FROM_FEEDBACK = ("thumbs_down", "misplaced")


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A number of each request of which more is worse.

    Attributes:
        name: `errors`, `timeouts`, `slow`, `empty`, `thumbs_down` ...
        margin: how much more is not worth stopping for.
        tripwire: a mean of the canary's that ends it at once, however few requests; None for none.
        tripwire_requests: requests of the canary from which on that counts.
        tolerance: how much more is surely harm: it rolls back once the lower bound is above it.
        proof: True if an advance from `ExperimentPlan.proven_from` on needs the upper bound under the margin; without
            it the mean must be, and only once both arms have `FEW` numbers. For what is not measured on every request.
        each_step: whether only numbers of the same step are compared, as of what depends on how much an arm has to do;
            its share of alpha is shared by the steps then.
    """

    name: str
    margin: float
    tripwire: float | None = None
    tripwire_requests: int = 20
    tolerance: float = 0.0
    proof: bool = True
    each_step: bool = False


# Latency is the logarithm of milliseconds: 0.1 is a tenth more, 0.2 a fifth.
DEFAULT_GUARDRAILS = (
    Guardrail("errors", 0.01, tripwire=0.5),
    Guardrail("timeouts", 0.01, tripwire=0.5),
    Guardrail("empty", 0.01, tripwire=0.5),
    Guardrail("latency", 0.2, tolerance=0.1, proof=False, each_step=True),
    Guardrail("slow", 0.05, tolerance=0.02, proof=False, each_step=True),
    Guardrail("thumbs_down", 0.02, proof=False),
    Guardrail("misplaced", 0.02, proof=False),
)


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """How a canary goes up.

    Attributes:
        steps: coverages, one after the other.
        guardrails: what is watched.
        alpha: chance of a false alarm, over all guardrails and looks of a whole canary.
        min_requests: of the canary in a step before it may advance.
        min_seconds: of a step.
        proven_from: coverage from which on harmlessness has to be shown before it advances: the upper bound of each
            guardrail under its margin. Below it, where little can be lost, no harm in view is enough.
        objective_ms: milliseconds over which a request is `slow`; 0 to take the champion's 95th percentile.
        auto_promote: whether what is proven takes the champion's place by itself.
        min_feedback: of the challenger's rankings that somebody said something of, before each advance from
            `proven_from` on; 0 where there may be none.
        patience: seconds that the challenger gets for a request before the champion answers it.
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
    """What was seen since the canary began.

    Attributes:
        control: sums of each guardrail where the champion answered; of those of `each_step` since the step began.
        canary: and where the canary did.
        assigned: units of control and canary, for the sample ratio.
        step_requests: of the canary since the step began.
        step_seconds: since then.
        share: of assigned units that should be in the canary; None for the coverage.
    """

    control: Mapping[str, Sums]
    canary: Mapping[str, Sums]
    assigned: tuple[int, int]
    step_requests: int
    step_seconds: float
    share: float | None = None


@dataclass(frozen=True, slots=True)
class ExperimentDecision:
    """What to do, and why.

    Attributes:
        action: `stop` ends an experiment whose split is broken.
        reason: one sentence.
        bounds: of each guardrail's difference.
    """

    action: Action
    reason: str
    bounds: Mapping[str, ConfidenceBounds]


def check_guardrails(plan: ExperimentPlan, coverage: float, seen: Observations) -> ExperimentDecision:
    """Decide after a look; it may be asked after every request.

    Args:
        plan: how it goes up.
        coverage: share of units that the canary has now.
        seen: since it began.

    Example:
        >>> check_guardrails(ExperimentPlan(), 0.01, Observations({}, {}, (0, 0), 0, 0.0)).action
        'wait'
    """
    share = plan.alpha / max(1, len(plan.guardrails))
    bounds: dict[str, ConfidenceBounds] = {}
    for rail in plan.guardrails:
        control, canary = seen.control.get(rail.name, Sums()), seen.canary.get(rail.name, Sums())
        # One-sided at `share`: the two-sided sequence at twice that.
        own = share / len(plan.steps) if rail.each_step else share
        bounds[rail.name] = difference(control, canary, min(0.5, 2 * own))
        enough = canary.count >= rail.tripwire_requests
        if rail.tripwire is not None and enough and canary.mean >= rail.tripwire:
            return ExperimentDecision("roll_back", f"{rail.name}: {canary.mean:.1%} of the canary's requests.", bounds)
    share_meant = coverage if seen.share is None else seen.share
    if 0 < share_meant < 1 and (broken := _broken(share_meant, seen.assigned)):
        return ExperimentDecision("stop", broken, bounds)
    for rail in plan.guardrails:
        found = bounds[rail.name]
        if found.low > rail.tolerance:
            return ExperimentDecision(
                "roll_back", f"{rail.name} rose by {found.mean:+.4f}, at least {found.low:+.4f}.", bounds
            )
    if seen.step_requests < plan.min_requests or seen.step_seconds < plan.min_seconds:
        return ExperimentDecision(
            "wait", f"{seen.step_requests} requests in {seen.step_seconds:.0f} s of this step.", bounds
        )
    said = max(seen.canary.get(name, Sums()).count for name in FROM_FEEDBACK)
    if coverage >= plan.proven_from and said < plan.min_feedback:
        return ExperimentDecision("wait", f"{said} rankings with feedback of {plan.min_feedback}.", bounds)
    for rail in plan.guardrails:
        found, proof = bounds[rail.name], rail.proof and coverage >= plan.proven_from
        numbers = (seen.control.get(rail.name, Sums()).count, seen.canary.get(rail.name, Sums()).count)
        if not rail.proof and min(numbers) < FEW:
            continue
        worst = found.high if proof else found.mean
        if worst > rail.margin:
            return ExperimentDecision("wait", f"{rail.name} may be {worst:+.4f}, more than {rail.margin:g}.", bounds)
    return ExperimentDecision("advance", "Nothing is worse than it may be.", bounds)


def _broken(coverage: float, assigned: Sequence[int]) -> str:
    evidence = ratio_evidence(assigned, (1 - coverage, coverage))
    if evidence < 1 / SAMPLE_RATIO_ALPHA:
        return ""
    total = sum(assigned)
    return f"The split is broken: {assigned[1]} of {total} units in the canary, {coverage:.1%} were meant."


def next_step(plan: ExperimentPlan, coverage: float) -> float | None:
    """The coverage after this one; None where it is the last.

    Example:
        >>> next_step(ExperimentPlan(), 0.05), next_step(ExperimentPlan(), 1.0)
        (0.1, None)
    """
    return next((step for step in plan.steps if step > coverage + 1e-9), None)
