from __future__ import annotations

import math

import pytest

from rerankd.experiments.guardrails import ExperimentPlan, Observations, check_guardrails
from rerankd.experiments.metric_format import format_change, format_mean, metric_label
from rerankd.experiments.sequential_tests import Sums


@pytest.mark.parametrize(
    ("name", "mean", "expected"),
    [("latency", math.log(1234.5), "1,234.5 ms"), ("errors", 0.5, "50.00 %"), ("misplaced", 0.25, "0.2500")],
)
def test_means_have_their_unit(name: str, mean: float, expected: str) -> None:
    assert format_mean(name, mean) == expected
    assert metric_label(name)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("name", ["latency", "errors"])
def test_what_is_not_known_is_said(name: str, value: float) -> None:
    assert format_change(name, value) == "not known yet"


@pytest.mark.parametrize("count", [0, 1])
def test_reasons_have_no_infinite_numbers_and_no_logarithms(count: int) -> None:
    plan = ExperimentPlan(min_requests=1, min_seconds=0.0)
    few = {"errors": Sums(count, 0.0, 0.0)}
    decision = check_guardrails(plan, 0.5, Observations(few, few, (10, 10), 10, 10.0))
    assert "inf" not in decision.reason
    assert "not known yet" in decision.reason
    fast, slow = (Sums.of([math.log(ms)] * 400) for ms in (10.0, 20.0))
    decision = check_guardrails(plan, 0.5, Observations({"latency": fast}, {"latency": slow}, (10, 10), 10, 10.0))
    assert decision.reason.startswith("latency rose by +100.0 %")
