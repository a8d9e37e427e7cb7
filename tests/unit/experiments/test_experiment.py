from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.experiments.experiment import Experiment, parse_plan, serialize_plan, validate
from rerankd.experiments.guardrails import ExperimentPlan, Guardrail

GOOD = Experiment("new", "canary", "mini", "org/name")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "not a valid name"),
        ({"name": "a" * 65}, "not a valid name"),
        ({"name": "a/b"}, "not a valid name"),
        ({"name": "a\n"}, "not a valid name"),
        ({"kind": "other"}, "Unknown kind of experiment 'other'"),
        ({"unit": "request"}, "Unknown assignment unit 'request'"),
        ({"model": ""}, "model is empty"),
        ({"challenger": "a" * 2000}, "challenger is empty, too long"),
        ({"plan": ExperimentPlan(steps=())}, "do not rise"),
        ({"plan": ExperimentPlan(steps=(0.5, 0.1))}, "do not rise"),
        ({"plan": ExperimentPlan(steps=(0.5, 1.1))}, "do not rise"),
        ({"plan": ExperimentPlan(steps=(0.0, 1.0))}, "do not rise"),
        ({"plan": ExperimentPlan(steps=tuple(n / 100 for n in range(1, 30)))}, "do not rise"),
        ({"plan": ExperimentPlan(alpha=0.0)}, "alpha is 0"),
        ({"plan": ExperimentPlan(alpha=float("nan"))}, "alpha is nan"),
        ({"plan": ExperimentPlan(min_requests=0)}, "min_requests is 0"),
        ({"plan": ExperimentPlan(patience=0.0)}, "patience is 0"),
        ({"plan": ExperimentPlan(guardrails=(Guardrail("errors", -1.0),))}, "margin of errors is -1"),
        ({"plan": ExperimentPlan(guardrails=tuple(Guardrail("e" * 100, 0.1) for _ in range(200)))}, "too long"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        validate(replace(GOOD, **change))


def test_a_plan_comes_back_as_it_was() -> None:
    plan = ExperimentPlan(steps=(0.1, 1.0), guardrails=(Guardrail("errors", 0.02, tolerance=0.1),), auto_promote=False)
    assert parse_plan(serialize_plan(plan)) == plan
    assert parse_plan(serialize_plan(ExperimentPlan())) == ExperimentPlan()
    later = serialize_plan(plan).replace("{", '{"of_a_later_version": 1, ', 1)
    assert parse_plan(later) == plan


def test_a_plan_that_a_release_before_stored_is_read() -> None:
    stored = (
        '{"steps":[0.01,1.0],"guardrails":[{"name":"errors","margin":0.01,"tripwire":0.5,"tripwire_requests":20,'
        '"tolerance":0.0,"proof":true,"each_step":false}],"alpha":0.05,"min_requests":200,"min_seconds":600.0,'
        '"proven_from":0.1,"objective_ms":0.0,"auto_promote":true,"patience":30.0,"min_feedback":0}'
    )
    plan = parse_plan(stored)
    assert plan == ExperimentPlan(steps=(0.01, 1.0), guardrails=(Guardrail("errors", 0.01, hard_limit=0.5),))
    assert serialize_plan(plan) == stored
