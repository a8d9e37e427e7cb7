"""What an experiment is, checked, and its plan as JSON. Pure."""

from __future__ import annotations

import dataclasses
import itertools
import re
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import orjson

from rerankd.errors import InvalidRequestError
from rerankd.experiments.guardrails import ExperimentPlan, Guardrail

Kind = Literal["shadow", "interleave", "split", "canary"]
Unit = Literal["user", "tenant", "session"]
State = Literal["running", "promoted", "rolled_back", "stopped"]
KINDS: tuple[Kind, ...] = get_args(Kind)
UNITS: tuple[Unit, ...] = get_args(Unit)
ACTIVE: tuple[State, ...] = ("running", "promoted")
CHAMPION, CHALLENGER, FALLBACK, INTERLEAVED = "champion", "challenger", "fallback", "interleaved"
MAX_NAME, MAX_REFERENCE, MAX_STEPS, MAX_PLAN = 64, 1024, 20, 16_384
NAME = re.compile(r"^[a-z0-9][a-z0-9._-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Experiment:
    """A champion, a challenger, and who gets which. The champion is whatever the service has under the model's name.

    Attributes:
        name: what people call it; one at a time has it.
        kind: `shadow` scores on the challenger after the answer, `interleave` shows one list made of both rankings,
            `split` gives half of the covered units to each, `canary` gives covered units to the challenger.
        model: name that requests use.
        challenger: reference of the other model.
        unit: what sticks to an arm.
        seed: of the assignment.
        coverage: share of units that take part now.
        step: how often it was advanced.
        plan: how it goes up, and what ends it.
        state: `running`, `promoted` (the challenger answers everything), `rolled_back` or `stopped`.
        created: seconds since 1970.
        changed: of its last change.
        stepped: when its step began.
        revision: goes up with each change.
        id: in the database; 0 before it is there.
    """

    name: str
    kind: Kind
    model: str
    challenger: str
    unit: Unit = "user"
    seed: str = ""
    coverage: float = 0.0
    step: int = 0
    plan: ExperimentPlan = field(default_factory=ExperimentPlan)
    state: State = "running"
    created: float = 0.0
    changed: float = 0.0
    stepped: float = 0.0
    revision: int = 0
    id: int = 0

    @property
    def served_as(self) -> str:
        """Name of its challenger in a pool of models."""
        return f"{self.model}~{self.name}"


def checked(experiment: Experiment) -> Experiment:
    """Check what somebody wants to start.

    Raises:
        InvalidRequestError: what is wrong, and what is right.

    Example:
        >>> checked(Experiment("new-mini", "canary", "mini", "org/name@main")).plan.steps[0]
        0.01
    """
    if len(experiment.name) > MAX_NAME or not NAME.fullmatch(experiment.name):
        raise InvalidRequestError(
            f"{experiment.name[:MAX_NAME]!r} is no name of an experiment.",
            hint=f"Use up to {MAX_NAME} of a-z, 0-9, point, dash and underscore.",
        )
    if experiment.kind not in KINDS:
        raise InvalidRequestError(f"There is no experiment {experiment.kind!r}.", hint=f"Use: {', '.join(KINDS)}.")
    if experiment.unit not in UNITS:
        raise InvalidRequestError(f"{experiment.unit!r} is no unit.", hint=f"Use one of: {', '.join(UNITS)}.")
    for name, text in (("model", experiment.model), ("challenger", experiment.challenger)):
        if not text or len(text) > MAX_REFERENCE or not text.isprintable():
            raise InvalidRequestError(f"{name} is empty or no name.", hint=f"Give up to {MAX_REFERENCE} characters.")
    _check_plan(experiment.plan)
    return experiment


def _check_plan(plan: ExperimentPlan) -> None:
    steps = plan.steps
    ascending = all(one < other for one, other in itertools.pairwise(steps))
    if not 0 < len(steps) <= MAX_STEPS or not ascending or not 0 < steps[0] <= steps[-1] <= 1:
        raise InvalidRequestError("The steps are no way up.", hint="Give rising shares above 0, up to 100 percent.")
    numbers = (
        ("alpha", plan.alpha, 1e-9, 0.5),
        ("min_requests", plan.min_requests, 1, 1e9),
        ("min_seconds", plan.min_seconds, 0, 1e8),
        ("proven_from", plan.proven_from, 0, 2),
        ("objective_ms", plan.objective_ms, 0, 1e7),
        ("min_feedback", plan.min_feedback, 0, 1e9),
        ("patience", plan.patience, 0.001, 3600),
        *((f"margin of {rail.name}", rail.margin, 0, 100) for rail in plan.guardrails),
    )
    for name, value, least, most in numbers:
        if not least <= value <= most:
            raise InvalidRequestError(f"{name} is {value:g}.", hint=f"It is a number from {least:g} to {most:g}.")
    if len(plan_json(plan)) > MAX_PLAN:
        raise InvalidRequestError("The plan is too long.", hint="Watch fewer guardrails.")


def plan_json(plan: ExperimentPlan) -> str:
    """A plan as it is kept."""
    return orjson.dumps(dataclasses.asdict(plan)).decode()


def plan_of(text: str) -> ExperimentPlan:
    """A plan that was kept; what this version does not know in it is left out.

    Example:
        >>> plan_of(plan_json(ExperimentPlan(steps=(0.1, 1.0)))).steps
        (0.1, 1.0)
    """
    held: dict[str, Any] = orjson.loads(text)
    rails = tuple(Guardrail(**_known(Guardrail, rail)) for rail in held.pop("guardrails", ()))
    known = _known(ExperimentPlan, held) | {"guardrails": rails}
    known["steps"] = tuple(known.get("steps", ExperimentPlan().steps))
    return ExperimentPlan(**known)


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    names = {entry.name for entry in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if name in names}
