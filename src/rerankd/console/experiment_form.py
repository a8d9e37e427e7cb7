"""The form that starts an experiment: its fields, their defaults, and the experiment that they describe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.datastructures import FormData

from rerankd.console.decision_form import ReasonForm
from rerankd.experiments.experiment import (
    KINDS,
    MAX_NAME,
    MAX_REFERENCE,
    UNITS,
    AssignmentUnit,
    Experiment,
    ExperimentKind,
)
from rerankd.experiments.guardrails import DEFAULT_GUARDRAILS, STEPS, ExperimentPlan, with_margins
from rerankd.experiments.plans import default_plan, format_steps, parse_steps
from rerankd.server.request_parsing import validated

MARGIN = "margin."
MAX_FORM_STEPS = 400
_DEFAULT = ExperimentPlan()


class ExperimentForm(BaseModel):
    """Fields of an experiment; shares are percentages, as on the command line."""

    name: str = Field(max_length=MAX_NAME)
    challenger: str = Field(max_length=MAX_REFERENCE)
    kind: ExperimentKind = "canary"
    model: str = Field(max_length=MAX_REFERENCE)
    unit: AssignmentUnit = "user"
    steps: str | None = Field(None, max_length=MAX_FORM_STEPS)
    min_requests: int = _DEFAULT.min_requests
    min_seconds: float = _DEFAULT.min_seconds
    alpha: float = _DEFAULT.alpha
    proven_from: float = 100 * _DEFAULT.proven_from
    objective_ms: float = _DEFAULT.objective_ms
    min_feedback: int = _DEFAULT.min_feedback
    patience: float = _DEFAULT.patience
    auto_promote: Literal["kind", "yes", "no"] = "kind"
    seed: str = Field("", max_length=100)
    check_challenger: bool = False
    margins: dict[str, float] = Field(default_factory=dict, max_length=len(DEFAULT_GUARDRAILS))

    def experiment(self) -> Experiment:
        """Return the experiment that the form describes.

        Raises:
            InvalidRequestError: the steps or a margin are invalid.
        """
        default = default_plan(self.kind)
        plan = replace(
            default,
            steps=parse_steps(self.steps) if self.steps else default.steps,
            guardrails=with_margins(self.margins),
            alpha=self.alpha,
            min_requests=self.min_requests,
            min_seconds=self.min_seconds,
            proven_from=self.proven_from / 100,
            objective_ms=self.objective_ms,
            auto_promote=default.auto_promote if self.auto_promote == "kind" else self.auto_promote == "yes",
            patience=self.patience,
            min_feedback=self.min_feedback,
        )
        return Experiment(self.name, self.kind, self.model, self.challenger, self.unit, self.seed, plan=plan)


class StartForm(ExperimentForm, ReasonForm):
    """Fields of an experiment that is started, with the reason."""


def form_fields(form: FormData) -> dict[str, Any]:
    """Return the fields of a form of an experiment: empty ones count as absent, and margins stand together."""
    fields: dict[str, Any] = {name: value for name, value in form.items() if isinstance(value, str) and value}
    margins = {name.removeprefix(MARGIN): value for name, value in fields.items() if name.startswith(MARGIN)}
    return {name: value for name, value in fields.items() if not name.startswith(MARGIN)} | {"margins": margins}


def experiment_form(form: FormData) -> ExperimentForm:
    """Return the validated form of an experiment.

    Raises:
        InvalidRequestError: a field is invalid; the message names it.
    """
    return validated(ExperimentForm, form_fields(form))


def start_form(form: FormData) -> StartForm:
    """Return the validated form that starts an experiment.

    Raises:
        InvalidRequestError: a field is invalid; the message names it.
    """
    return validated(StartForm, form_fields(form))


def form_content(models: list[str], values: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what the form shows: choices, defaults, and the values that were filled in.

    Args:
        models: names of the served models, the default first.
        values: fields of the form as they were sent; None for an empty form.
    """
    defaults: dict[str, Any] = {
        "name": "",
        "challenger": "",
        "kind": "canary",
        "model": models[0],
        "unit": "user",
        "steps": "",
        "min_requests": _DEFAULT.min_requests,
        "min_seconds": _DEFAULT.min_seconds,
        "alpha": _DEFAULT.alpha,
        "proven_from": 100 * _DEFAULT.proven_from,
        "objective_ms": _DEFAULT.objective_ms,
        "min_feedback": _DEFAULT.min_feedback,
        "patience": _DEFAULT.patience,
        "auto_promote": "kind",
        "seed": "",
        "check_challenger": values is None,
        "margins": {rail.name: rail.margin for rail in DEFAULT_GUARDRAILS},
    }
    defaults = {name: f"{value:g}" if isinstance(value, float) else value for name, value in defaults.items()}
    sent = values or {}
    margins = defaults["margins"] | sent.get("margins", {})
    return {
        "kinds": list(KINDS),
        "units": list(UNITS),
        "models": models,
        "guardrails": [rail.name for rail in DEFAULT_GUARDRAILS],
        "usual_steps": format_steps(STEPS),
        "values": {name: sent.get(name, value) for name, value in defaults.items()} | {"margins": margins},
    }
