"""An experiment's definition and its validation, and its plan as JSON. Pure."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import Literal, get_args

from pydantic import TypeAdapter

from rerankd.errors import InvalidRequestError
from rerankd.experiments.guardrails import ExperimentPlan

ExperimentKind = Literal["shadow", "interleave", "split", "canary"]
AssignmentUnit = Literal["user", "tenant", "session"]
ExperimentState = Literal["running", "promoted", "rolled_back", "stopped"]
KINDS: tuple[ExperimentKind, ...] = get_args(ExperimentKind)
UNITS: tuple[AssignmentUnit, ...] = get_args(AssignmentUnit)
ACTIVE: tuple[ExperimentState, ...] = ("running", "promoted")
CHAMPION, CHALLENGER, FALLBACK, INTERLEAVED = "champion", "challenger", "fallback", "interleaved"
MAX_NAME, MAX_REFERENCE, MAX_STEPS, MAX_PLAN = 64, 1024, 20, 16_384
NAME = re.compile(r"^[a-z0-9][a-z0-9._-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Experiment:
    """An A/B test of a challenger against the champion, the model that the service has under the requested name.

    Attributes:
        name: name that people use; unique among active experiments.
        kind: `shadow` scores on the challenger after the answer, `interleave` shows one list made of both rankings,
            `split` gives each variant half of the covered units, `canary` gives the covered units to the challenger.
        model: name that requests use.
        challenger: reference of the other model.
        unit: what sticks to a variant.
        seed: seed of the assignment.
        coverage: share of units that take part now.
        step: number of advances so far.
        plan: steps, guardrails and limits.
        state: `running`, `promoted` (the challenger answers every request), `rolled_back` or `stopped`.
        created: start, in seconds since 1970.
        changed: last change, in seconds since 1970.
        stepped: start of the current step, in seconds since 1970.
        revision: number of changes, for optimistic locking.
        id: id in the database; 0 before it is stored.
    """

    name: str
    kind: ExperimentKind
    model: str
    challenger: str
    unit: AssignmentUnit = "user"
    seed: str = ""
    coverage: float = 0.0
    step: int = 0
    plan: ExperimentPlan = field(default_factory=ExperimentPlan)
    state: ExperimentState = "running"
    created: float = 0.0
    changed: float = 0.0
    stepped: float = 0.0
    revision: int = 0
    id: int = 0

    @property
    def served_as(self) -> str:
        """Name of the challenger in a pool of models."""
        return f"{self.model}~{self.name}"


def validate(experiment: Experiment) -> Experiment:
    """Return an experiment that is about to be started, unchanged, if it is valid.

    Raises:
        InvalidRequestError: a field is invalid; the hint names the values that are allowed.

    Example:
        >>> validate(Experiment("new-mini", "canary", "mini", "org/name@main")).plan.steps[0]
        0.01
    """
    if len(experiment.name) > MAX_NAME or not NAME.fullmatch(experiment.name):
        raise InvalidRequestError(
            f"{experiment.name[:MAX_NAME]!r} is not a valid name for an experiment.",
            hint=f"Use up to {MAX_NAME} of a-z, 0-9, point, dash and underscore.",
        )
    if experiment.kind not in KINDS:
        raise InvalidRequestError(f"Unknown kind of experiment {experiment.kind!r}.", hint=f"Use: {', '.join(KINDS)}.")
    if experiment.unit not in UNITS:
        raise InvalidRequestError(f"Unknown assignment unit {experiment.unit!r}.", hint=f"Use: {', '.join(UNITS)}.")
    for field_name, text in (("model", experiment.model), ("challenger", experiment.challenger)):
        if not text or len(text) > MAX_REFERENCE or not text.isprintable():
            raise InvalidRequestError(
                f"{field_name} is empty, too long or not printable.", hint=f"Use 1 to {MAX_REFERENCE} characters."
            )
    _validate_plan(experiment.plan)
    return experiment


def _validate_plan(plan: ExperimentPlan) -> None:
    steps = plan.steps
    ascending = all(low < high for low, high in itertools.pairwise(steps))
    if not 0 < len(steps) <= MAX_STEPS or not ascending or not 0 < steps[0] <= steps[-1] <= 1:
        raise InvalidRequestError(
            "The steps of the plan do not rise.",
            hint=f"Give 1 to {MAX_STEPS} rising shares above 0 and up to 100 percent.",
        )
    limits = (
        ("alpha", plan.alpha, 1e-9, 0.5),
        ("min_requests", plan.min_requests, 1, 1e9),
        ("min_seconds", plan.min_seconds, 0, 1e8),
        ("proven_from", plan.proven_from, 0, 2),
        ("objective_ms", plan.objective_ms, 0, 1e7),
        ("min_feedback", plan.min_feedback, 0, 1e9),
        ("patience", plan.patience, 0.001, 3600),
        *((f"margin of {rail.name}", rail.margin, 0, 100) for rail in plan.guardrails),
    )
    for name, value, least, most in limits:
        if not least <= value <= most:
            raise InvalidRequestError(f"{name} is {value:g}.", hint=f"Use a number from {least:g} to {most:g}.")
    if len(serialize_plan(plan)) > MAX_PLAN:
        raise InvalidRequestError("The plan is too long to be stored.", hint="Use fewer guardrails.")


_PLAN = TypeAdapter(ExperimentPlan)


def serialize_plan(plan: ExperimentPlan) -> str:
    """Return a plan as it is stored."""
    return _PLAN.dump_json(plan, by_alias=True).decode()


def parse_plan(text: str) -> ExperimentPlan:
    """Return a stored plan; fields that this release does not know are ignored.

    Raises:
        pydantic.ValidationError: the text is not a plan.

    Example:
        >>> parse_plan(serialize_plan(ExperimentPlan(steps=(0.1, 1.0)))).steps
        (0.1, 1.0)
    """
    return _PLAN.validate_json(text)
