"""Charts, marks and rows of the page of monitoring, without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rerankd.console.language import LANGUAGES
from rerankd.console.messages import messages
from rerankd.console.monitor import _named, _period_before, _points, _row, _rows, first_quarter
from rerankd.console.monitor_charts import CHARTS, Drift, charts_of
from rerankd.console.monitor_marks import EXPERIMENT_ACTIONS, REGISTRY_PHASES, marks_of
from rerankd.database.tables import SUMMARY_COUNTS, SUMMARY_TOTALS
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.history import ExperimentEvent
from rerankd.feedback.activity_series import (
    FEEDBACK_SUMS,
    ActivitySeries,
    ActivityTotals,
    TimeBuckets,
    read_series,
    refresh_activity,
)
from rerankd.feedback.activity_summaries import STAGES
from rerankd.feedback.sketch import SketchSeries
from rerankd.traces.store import TraceStore
from tests.unit.feedback.written import write

BUCKETS = TimeBuckets(600, 60, 5)
NONE = SketchSeries.of([], [], BUCKETS.count)
NO_DRIFT = Drift(np.full(BUCKETS.count, np.nan), 0, 600, 200)


def series(
    versions: Mapping[str, list[float]] | None = None, first_seen: Mapping[str, list[float]] | None = None
) -> ActivitySeries:
    """Return series in which nothing was measured but the rankings of versions."""
    counts = {version: np.array(values, float) for version, values in (versions or {}).items()}
    seen = {version: np.full(BUCKETS.count, np.nan) for version in counts}
    seen |= {version: np.array(values, float) for version, values in (first_seen or {}).items()}
    zeros = {name: np.zeros(BUCKETS.count) for name in (*SUMMARY_COUNTS, *SUMMARY_TOTALS)}
    feedback = {name: np.zeros(BUCKETS.count) for name in FEEDBACK_SUMS}
    return ActivitySeries(BUCKETS, zeros, NONE, dict.fromkeys(STAGES, NONE), counts, seen, feedback)


@pytest.mark.parametrize("language", LANGUAGES)
def test_charts_of_nothing_say_so(language: str) -> None:
    made = charts_of(series(), NO_DRIFT, language, [])  # type: ignore[arg-type]
    assert [chart["name"] for chart in made] == list(CHARTS)
    for chart in made:
        assert chart["title"]
        assert chart["meaning"]
        assert len(chart["chart"]["labels"]) == BUCKETS.count
    json.dumps(made, allow_nan=False)


def test_charts_of_a_store(tmp_path: Path) -> None:
    store = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    write(store, "r0", 1.0, 3.0, 2.0, at=630.0)
    refresh_activity(store, 60, now=900.0)
    content = read_series(store, BUCKETS, "mini")
    store.close()
    charts = {chart["name"]: chart for chart in charts_of(content, NO_DRIFT, "en", [])}
    assert [each["values"] for each in charts["volume"]["chart"]["series"]] == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    [changed, *_] = charts["order"]["chart"]["series"]
    assert changed == {"id": "top_changed", "name": "First document changed", "values": [1, None, None, None, None]}
    assert charts["order"]["meaning"].startswith("100 % of rankings had another document first")
    [total, *_] = charts["latency_p95"]["chart"]["series"]
    assert total["values"][0] == pytest.approx(6.0, rel=0.01)
    assert charts["latency_p50"]["chart"]["times"] == [600, 660, 720, 780, 840]


def test_a_release_is_marked_when_it_answers_most() -> None:
    made = marks_of(
        series({"v1": [9, 9, 2, 0, 0], "v2": [0, 1, 8, 0, 9]}, {"v2": [np.nan, 665, 725, np.nan, 845]}), [], "en"
    )
    assert [(mark["at"], mark["text"], mark["label"]) for mark in made] == [
        (720, "Version v2 answers instead of v1", "1")  # it was seen in the bucket before, so the time is the bucket's
    ]


def test_the_time_of_a_release_is_that_of_its_first_ranking() -> None:
    content = series(
        {"v1": [9, 0, 0, 9, 0], "v2": [0, 0, 9, 0, 0]},
        {"v1": [601, np.nan, np.nan, 790, np.nan], "v2": [np.nan, np.nan, 733.5, np.nan, np.nan]},
    )
    assert [(mark["at"], mark["text"]) for mark in marks_of(content, [], "en")] == [
        (733.5, "Version v2 answers instead of v1"),
        (790, "Version v1 answers instead of v2"),
    ]


def test_variants_that_take_turns_in_an_experiment_are_no_releases() -> None:
    content = series({"v1": [2, 1, 2, 1, 2], "v2": [0, 2, 1, 2, 1]})
    assert len(marks_of(content, [], "en")) == 4
    running = Experiment("new", "canary", "mini", "other", created=500.0, changed=640.0)
    assert marks_of(content, [], "en", [running]) == []
    shadow = replace(running, kind="shadow")
    assert len(marks_of(content, [], "en", [shadow])) == 4, "shadow traffic answers nobody"
    ended = replace(running, state="rolled_back")
    assert [mark["at"] for mark in marks_of(content, [], "en", [ended])] == [660, 720, 780, 840]


def test_a_release_during_an_experiment_is_marked() -> None:
    content = series({"v1": [5, 5, 0, 0, 0], "v2": [1, 1, 1, 1, 1], "v3": [0, 0, 5, 5, 5]})
    running = Experiment("new", "canary", "mini", "other", created=500.0)
    assert [mark["text"] for mark in marks_of(content, [], "en", [running])] == ["Version v3 answers instead of v1"]


def test_events_of_one_second_stand_in_the_order_in_which_they_happened() -> None:
    newest_first = [ExperimentEvent("new", action, "", "me", 1.0, {}, 700.0) for action in ("end", "promote")]
    assert [mark["text"] for mark in marks_of(series(), newest_first, "en")] == [
        "Experiment new: challenger promoted",
        "Experiment new ended",
    ]


def test_experiments_are_marked() -> None:
    def event(action: str, at: float, **data: str) -> ExperimentEvent:
        return ExperimentEvent("new", action, "because", "me", 0.05, data, at)

    events = [
        event("registry", 700, phase="moved"),
        event("registry", 690, phase="waiting"),
        event("refuse", 680),
        event("advance", 660),
        event("start", 599),  # before the window
    ]
    made = marks_of(series(), events, "en")
    assert [mark["text"] for mark in made] == [
        "Experiment new advanced to 5.0 % of traffic",
        "Experiment new: the registry's alias moved to the promoted version",
    ]


def test_all_messages_that_are_chosen_at_run_time_exist() -> None:
    chosen = [f"mark_{action}" for action in (*EXPERIMENT_ACTIONS, *REGISTRY_PHASES)]
    chosen += [f"{chart}_title" for chart in CHARTS] + [f"{chart}_means" for chart in CHARTS]
    chosen += [f"verdict_{verdict}" for verdict in ("helps", "hurts", "unclear", "too_few")]
    chosen += [f"state_{state}" for state in ("pending", "firing")]
    chosen += [f"severity_{severity}" for severity in ("critical", "warning", "info")]
    chosen += [f"window_{window}" for window in ("1h", "24h", "7d", "30d")]
    assert {f"monitor.{name}" for name in chosen} <= set(messages())


@pytest.mark.parametrize(
    ("requests", "quarter"), [([0, 0, 0, 0, 0], (0, 1)), ([1, 1, 1, 1, 1], (0, 1)), ([0, 0, 0, 0, 3], (4, 5))]
)
def test_the_first_quarter_begins_with_the_first_ranking(requests: list[int], quarter: tuple[int, int]) -> None:
    content = series()
    content.sums["requests"][:] = requests
    assert first_quarter(content) == quarter


def test_points_lead_to_their_traces() -> None:
    [first, *rest] = _points(TimeBuckets(0, 60, 2), "a&b=<c>", "shop")
    assert first == {
        "start": 0,
        "traces": "/console/traces?since=1970-01-01T00%3A00%3A00Z&until=1970-01-01T00%3A01%3A00Z"
        "&model=a%26b%3D%3Cc%3E&tenant=shop",
    }
    assert len(rest) == 1


def test_a_row_without_feedback_has_no_rates() -> None:
    sums = dict.fromkeys((*SUMMARY_COUNTS, *SUMMARY_TOTALS), 0.0) | {"requests": 4.0, "jobs": 4.0}
    row = _row(ActivityTotals("mini", "*", sums, dict.fromkeys(FEEDBACK_SUMS, 0.0)), "24h")
    assert (row["slow"], row["positive"], row["gain"], row["verdict"]) == (None, None, None, "too_few")
    assert row["address"] == "/console/monitor?model=mini&window=24h"


def test_a_row_has_the_gain_of_the_period_before() -> None:
    sums = dict.fromkeys((*SUMMARY_COUNTS, *SUMMARY_TOTALS), 0.0) | {"requests": 4.0}
    none = dict.fromkeys(FEEDBACK_SUMS, 0.0)
    judged = none | {"judged": 4.0, "chosen": 4.0, "before": 1.0, "after": 3.0, "squares": 1.0}
    now = [ActivityTotals("mini", tenant, sums, none) for tenant in ("*", "new")]
    rows = _rows(now, {("mini", "*"): judged}, "7d")
    assert [(row["gain"], row["gain_before"]) for row in rows] == [(None, 0.5), (None, None)]
    assert _period_before(TimeBuckets(600, 60, 5)) == TimeBuckets(300, 60, 5)


def test_a_name_is_found_by_what_html_can_hold() -> None:
    assert _named("a\ufffdb", ["x", "a\x1bb"]) == "a\x1bb"
    assert _named("unknown", ["x"]) == "unknown"
    assert _named(None, ["x"]) is None
