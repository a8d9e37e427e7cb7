from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.experiments.experiment import Experiment, checked, plan_json, plan_of
from rerankd.experiments.guardrails import ExperimentPlan, Guardrail

GOOD = Experiment("new", "canary", "mini", "org/name")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "no name"),
        ({"name": "a" * 65}, "no name"),
        ({"name": "a/b"}, "no name"),
        ({"name": "a\n"}, "no name"),
        ({"kind": "other"}, "There is no experiment 'other'"),
        ({"unit": "request"}, "'request' is no unit"),
        ({"model": ""}, "model is empty"),
        ({"challenger": "a" * 2000}, "challenger is empty or no name"),
        ({"plan": ExperimentPlan(steps=())}, "no way up"),
        ({"plan": ExperimentPlan(steps=(0.5, 0.1))}, "no way up"),
        ({"plan": ExperimentPlan(steps=(0.5, 1.1))}, "no way up"),
        ({"plan": ExperimentPlan(steps=(0.0, 1.0))}, "no way up"),
        ({"plan": ExperimentPlan(steps=tuple(n / 100 for n in range(1, 30)))}, "no way up"),
        ({"plan": ExperimentPlan(alpha=0.0)}, "alpha is 0"),
        ({"plan": ExperimentPlan(alpha=float("nan"))}, "alpha is nan"),
        ({"plan": ExperimentPlan(min_requests=0)}, "min_requests is 0"),
        ({"plan": ExperimentPlan(patience=0.0)}, "patience is 0"),
        ({"plan": ExperimentPlan(guardrails=(Guardrail("errors", -1.0),))}, "margin of errors is -1"),
        ({"plan": ExperimentPlan(guardrails=tuple(Guardrail("e" * 100, 0.1) for _ in range(200)))}, "too long"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        checked(replace(GOOD, **change))


def test_a_plan_comes_back_as_it_was() -> None:
    plan = ExperimentPlan(steps=(0.1, 1.0), guardrails=(Guardrail("errors", 0.02, tolerance=0.1),), auto_promote=False)
    assert plan_of(plan_json(plan)) == plan
    assert plan_of(plan_json(ExperimentPlan())) == ExperimentPlan()
    later = plan_json(plan).replace("{", '{"of_a_later_version": 1, ', 1)
    assert plan_of(later) == plan
