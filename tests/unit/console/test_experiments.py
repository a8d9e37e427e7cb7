"""Content of the pages of experiments: every word exists in both languages, intervals stand where they belong."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

import pytest
from starlette.datastructures import FormData

from rerankd.console.experiment_form import experiment_form, form_content, start_form
from rerankd.console.experiment_view import (
    ACTIONS,
    METRICS,
    experiment_content,
    interval_bar,
    interval_charts,
    interval_history,
    steps,
)
from rerankd.console.experiments import NOTICES
from rerankd.console.messages import messages
from rerankd.errors import InvalidRequestError
from rerankd.experiments import decisions
from rerankd.experiments.counters import Counters
from rerankd.experiments.experiment import KINDS, UNITS, Experiment
from rerankd.experiments.guardrails import DEFAULT_GUARDRAILS, DecisionAction, ExperimentPlan, GuardrailState
from rerankd.experiments.plans import default_plan
from rerankd.experiments.status import experiment_row
from rerankd.experiments.store import ExperimentStore
from rerankd.traces.store import TraceStore

FIELDS = {"name": "new", "challenger": "org/name", "model": "mini"}


def test_every_choice_has_its_words() -> None:
    chosen = {
        "kind": KINDS,
        "kind_help": KINDS,
        "unit": UNITS,
        "notice": NOTICES,
        "action": ACTIONS,
        "metric": (*METRICS, *(rail.name for rail in DEFAULT_GUARDRAILS)),
        "decision": get_args(DecisionAction),
        "rail": get_args(GuardrailState),
        "auto_promote": ("kind", "yes", "no"),
        "progress": ("requests", "seconds", "feedback"),
        "variant": ("champion", "challenger"),
        "bound": ("low", "mean", "high", "margin"),
    }
    missing = {f"experiments.{part}_{name}" for part, names in chosen.items() for name in names} - set(messages())
    assert missing == set()


@pytest.mark.parametrize(
    ("low", "mean", "high", "cut"),
    [(-0.01, 0.0, 0.01, ""), (-1.0, 0.0, 1.0, "both"), (0.01, 0.02, 5.0, "high"), (0.9, 0.95, 0.99, "")],
)
def test_an_interval_keeps_its_order_and_its_limit_in_sight(low: float, mean: float, high: float, cut: str) -> None:
    bar = interval_bar(0.02, 0.0, low=low, mean=mean, high=high)
    assert 0 <= bar["low"] <= bar["mean"] <= bar["high"] <= 1
    assert bar["zero"] == 0.5 < bar["margin"] < 1
    assert (bar["cut_low"], bar["cut_high"]) == (cut == "both", cut in ("both", "high"))


def test_steps_of_a_promoted_experiment_are_done() -> None:
    states = [step["state"] for step in steps(Experiment("new", "canary", "mini", "x", coverage=0.1))]
    assert states == ["done", "done", "current", "ahead", "ahead", "ahead"]
    promoted = Experiment("new", "canary", "mini", "x", coverage=1.0, state="promoted")
    assert {step["state"] for step in steps(promoted)} == {"done"}


def test_the_content_says_what_the_command_line_says(tmp_path: Path) -> None:
    store = ExperimentStore(TraceStore(f"sqlite:///{tmp_path}/traces.sqlite"))
    plan = ExperimentPlan(steps=(0.05, 0.5), min_requests=10)
    experiment = store.start(Experiment("new", "canary", "mini", "org/name", plan=plan), "me")
    for _ in range(2):
        experiment = store.get("new")
        counters = Counters()
        for variant in ("champion", "challenger"):
            for number in range(40):
                values = {"errors": float(number == 0), "latency": math.log(20 + number % 3)}
                counters.add(experiment.id, experiment.step, variant, values, f"{variant} {number}")
        store.add_counts(counters.drain())
        row = experiment_row(store, experiment)
        if experiment.coverage == 0.05:
            decisions.advance(store, "new", "me", "fine")
    events = store.events("new")
    content = experiment_content(experiment, row, events, in_force=True)
    assert content["experiment"]["requests"] == {"champion": 80, "challenger": 80, "step": 40}
    assert (content["following"], content["progress"][0]) == (
        "promote",
        {"name": "requests", "value": 40, "least": 10},
    )
    rails = {rail["name"]: rail for rail in content["guardrails"]}
    assert rails["errors"]["champion"] == {"count": 80, "mean": 0.025, "text": "2.50 %"}
    assert rails["errors"]["state"] == row["guardrail_states"]["errors"] == "unproven"
    assert rails["thumbs_down"]["bar"] is None
    assert rails["latency"]["difference"]["mean_text"] == "+0.0 %"
    intervals = interval_history(experiment, row, events)
    assert [point["coverage"] for point in intervals["errors"]] == [0.05, 0.5]
    [chart, *_] = interval_charts(intervals, "zh")
    assert chart["chart"]["labels"][-1] == "现在"
    assert {len(series["values"]) for series in chart["chart"]["series"]} == {2}


def test_shadow_traffic_has_no_guardrails_and_a_ratio_of_latencies(tmp_path: Path) -> None:
    store = ExperimentStore(TraceStore(f"sqlite:///{tmp_path}/traces.sqlite"))
    plan = default_plan("shadow")
    experiment = store.start(Experiment("new", "shadow", "mini", "registry:med@3", plan=plan), "me")
    counters = Counters()
    counters.add(experiment.id, 0, "challenger", {"errors": 0.0, "tau": 0.5, "latency": math.log(2.0)})
    store.add_counts(counters.drain())
    content = experiment_content(experiment, experiment_row(store, experiment), [], in_force=True)
    texts = {one["name"]: one["challenger"]["text"] for one in content["other_metrics"]}
    assert (texts["latency"], texts["errors"]) == ("2.00 \N{MULTIPLICATION SIGN}", "0.00 %")
    assert (content["guardrails"], content["following"], content["progress"]) == ([], None, [])
    assert content["experiment"]["version_page"] == "/console/models/med/versions/3"


def test_an_empty_form_is_the_plan_of_the_command_line() -> None:
    assert experiment_form(FormData(FIELDS)).experiment().plan == default_plan("canary")
    shown = form_content(["mini"])["values"]
    sent = {name: str(value) for name, value in shown.items() if name not in ("margins", "check_challenger")}
    margins = {f"margin.{name}": str(value) for name, value in shown["margins"].items()}
    for kind in KINDS:
        form = FormData(sent | margins | FIELDS | {"kind": kind})
        assert experiment_form(form).experiment().plan == default_plan(kind)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"steps": "1;2"}, "not a list of steps"),
        ({"margin.nothing": "1"}, "Unknown guardrail"),
        ({"margin.errors": "much"}, "margins.errors"),
        ({"kind": "test"}, "kind"),
        ({"name": "n" * 65}, "name"),
        ({"reason": ""}, "reason"),
        ({"reason": " "}, "reason"),
        ({"reason": "r" * 501}, "reason"),
    ],
)
def test_what_cannot_be_used_is_named(changed: dict[str, str], fault: str) -> None:
    with pytest.raises(InvalidRequestError, match=fault):
        start_form(FormData(FIELDS | {"reason": "why"} | changed)).experiment()
