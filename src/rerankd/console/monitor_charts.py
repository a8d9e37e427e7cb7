"""Charts of the page of monitoring: one function for each, from the series of a model to what `charts.js` draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd.console import formats
from rerankd.console.language import Language
from rerankd.console.messages import message
from rerankd.feedback.activity_series import ActivitySeries, ratio
from rerankd.feedback.activity_summaries import STAGES
from rerankd.feedback.rates import gain_interval, verdict_of
from rerankd.server.observability.alert_rules import DRIFT_NOTICEABLE, DRIFT_STRONG

Floats = npt.NDArray[np.float64]
Say = Callable[..., str]
DIGITS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """Drift of the top scores in each bucket.

    Attributes:
        values: population stability index, shape (buckets,); NaN for too few rankings.
        since: begin of the reference, seconds since 1970.
        until: its end.
        floor: rankings that both need.
    """

    values: Floats
    since: int
    until: int
    floor: int


@dataclass(frozen=True, slots=True, eq=False)
class ChartInput:
    """Values that charts are drawn from.

    Attributes:
        series: rankings of a model in each bucket.
        drift: drift of its scores.
        language: language of the page.
    """

    series: ActivitySeries
    drift: Drift
    language: Language

    @property
    def say(self) -> Say:
        """Messages of the page in its language, by their names after `monitor.`."""
        return lambda name, **values: message(f"monitor.{name}", self.language, **values)


def charts_of(
    series: ActivitySeries, drift: Drift, language: Language, marks: Sequence[Mapping[str, Any]]
) -> list[Any]:
    """Return the charts of a model: name, title, a sentence that says what it means, and the chart itself.

    Args:
        series: rankings in each bucket.
        drift: drift of the scores.
        language: language of the page.
        marks: events on the time axis, with `at` (seconds since 1970) and `label`.
    """
    content = ChartInput(series, drift, language)
    return [_complete(name, chart(content), content, marks) for name, chart in CHARTS.items()]


def _complete(name: str, chart: dict[str, Any], content: ChartInput, marks: Sequence[Mapping[str, Any]]) -> Any:
    say, buckets = content.say, content.series.buckets
    is_empty = all(value is None for each in chart["series"] for value in each["values"])
    meaning = chart.pop("meaning")
    drawn = {
        "kind": "line",
        "digits": 3,
        "times": buckets.starts,
        "step": buckets.step,
        "labels": [formats.moment(start)[:16] for start in buckets.starts],
        "marks": [{"at": mark["at"], "label": mark["label"], "kind": mark["kind"]} for mark in marks],
        "x_title": say("axis"),
        "links_id": "monitor-links",
    }
    return {
        "name": name,
        "title": say(f"{name}_title"),
        "meaning": say("not_measured") if is_empty and name != "drift" else meaning,
        "chart": drawn | chart,
    }


def _values(values: Floats) -> list[float | None]:
    """Return values as JSON can hold them."""
    return [None if np.isnan(value) else round(float(value), DIGITS) for value in values]


def _series(say: Say, **values: Floats) -> list[dict[str, Any]]:
    return [{"id": name, "name": say(name), "values": _values(each)} for name, each in values.items()]


def _overall(series: ActivitySeries, part: str, whole: str) -> float | None:
    total = float(series.sums[whole].sum())
    return float(series.sums[part].sum()) / total if total else None


def volume_chart(content: ChartInput) -> dict[str, Any]:
    """Return the number of rankings."""
    say, sums = content.say, content.series.sums
    requests, jobs = int(sums["requests"].sum()), int(sums["jobs"].sum())
    return {
        "kind": "bar",
        "digits": 0,
        "unit": say("volume_unit"),
        "series": _series(say, requests=sums["requests"] - sums["jobs"], jobs=sums["jobs"]),
        "stacked": True,
        "meaning": say("volume_means", requests=f"{requests:,}", jobs=f"{jobs:,}"),
    }


def order_chart(content: ChartInput) -> dict[str, Any]:
    """Return how far the order after reranking is from that before."""
    say, series = content.say, content.series
    changed = series.share("top_changed", "requests")
    return {
        "unit": say("order_unit"),
        "series": _series(say, top_changed=changed, tau=series.mean("tau"), rbo=series.mean("rbo")),
        "meaning": say("order_means", top_changed=formats.percent(_overall(series, "top_changed", "requests"))),
    }


def promotion_chart(content: ChartInput) -> dict[str, Any]:
    """Return the ranks that returned documents rose."""
    say, series = content.say, content.series
    mean = _overall(series, "promotion_total", "promotion_count")
    return {
        "digits": 2,
        "unit": say("promotion_unit"),
        "series": _series(say, promotion=series.mean("promotion")),
        "meaning": say("promotion_means", promotion=formats.number(mean, 1)),
    }


def scores_chart(content: ChartInput) -> dict[str, Any]:
    """Return quantiles of the top scores."""
    say, scores = content.say, content.series.scores
    p10, p50 = (content.series.scores.total_quantile(share) for share in (0.1, 0.5))
    return {
        "digits": 2,
        "unit": say("scores_unit"),
        "series": _series(say, p90=scores.quantile(0.9), p50=scores.quantile(0.5), p10=scores.quantile(0.1)),
        "meaning": say("scores_means", p50=formats.number(p50, 2), p10=formats.number(p10, 2)),
    }


def drift_chart(content: ChartInput) -> dict[str, Any]:
    """Return the population stability index of the top scores."""
    say, drift = content.say, content.drift
    means = say("drift_unknown", floor=drift.floor)
    if not np.isnan(drift.values).all():
        since, until = (formats.moment(time)[:16] for time in (drift.since, drift.until))
        limits = {"noticeable": f"{DRIFT_NOTICEABLE:g}", "strong": f"{DRIFT_STRONG:g}"}
        means = say("drift_means", since=since, until=until, **limits)
    return {
        "unit": say("drift_unit"),
        "series": _series(say, drift_series=drift.values),
        "limits": [{"value": DRIFT_STRONG, "label": f"{DRIFT_STRONG:g}"}],
        "meaning": means,
    }


def latency_chart(content: ChartInput, share: float) -> dict[str, Any]:
    """Return a quantile of the latency of each stage; jobs are left out."""
    say, series = content.say, content.series
    stages = {stage: series.latencies[stage].quantile(share) for stage in reversed(STAGES)}
    total = formats.number(series.latencies["total"].total_quantile(share), 1)
    waited = float(series.sums["requests"].sum() - series.sums["jobs"].sum())
    slow = formats.percent(float(series.sums["slow"].sum()) / waited if waited else None, 1)
    name = f"latency_p{share * 100:.0f}_means"
    return {
        "digits": 1,
        "unit": say("latency_unit"),
        "series": _series(say, **stages),
        "meaning": say(name, total=total, slow=slow),
    }


def texts_chart(content: ChartInput) -> dict[str, Any]:
    """Return the shares of truncated documents and of scores from the cache."""
    say, series = content.say, content.series
    names = ("truncated", "cached")
    means = {name: formats.percent(_overall(series, name, "documents"), 1) for name in names}
    return {
        "unit": say("texts_unit"),
        "series": _series(say, **{name: series.share(name, "documents") for name in names}),
        "meaning": say("texts_means", **means),
    }


def feedback_chart(content: ChartInput) -> dict[str, Any]:
    """Return the shares of rankings with feedback that have a chosen document, and a rejection."""
    say, feedback = content.say, content.series.feedback
    judged = float(feedback["judged"].sum())
    positive, negative = (
        formats.percent(float(feedback[name].sum()) / judged if judged else None) for name in ("chosen", "rejected")
    )
    return {
        "unit": say("feedback_unit"),
        "series": _series(
            say,
            positive=ratio(feedback["chosen"], feedback["judged"]),
            negative=ratio(feedback["rejected"], feedback["judged"]),
        ),
        "meaning": say("feedback_means", judged=f"{judged:,.0f}", positive=positive, negative=negative),
    }


def choice_chart(content: ChartInput) -> dict[str, Any]:
    """Return the reciprocal rank of the best chosen document, before and after, and its loss."""
    say, feedback = content.say, content.series.feedback
    sums = {name: float(values.sum()) for name, values in feedback.items()}
    before, after = (ratio(feedback[name], feedback["chosen"]) for name in ("before", "after"))
    means = ""
    if count := int(sums["chosen"]):
        _, low, high = gain_interval(count, sums["after"] - sums["before"], sums["squares"])
        verdict = say(f"verdict_{verdict_of(count, low, high)}".replace(" ", "_"))
        means = say(
            "choice_means",
            before=formats.number(sums["before"] / count),
            after=formats.number(sums["after"] / count),
            low=formats.signed(low),
            high=formats.signed(high),
            verdict=verdict,
        )
    return {
        "unit": say("choice_unit"),
        "series": _series(say, choice_before=before, choice_after=after, choice_loss=1 - after),
        "meaning": means,
    }


CHARTS: Mapping[str, Callable[[ChartInput], dict[str, Any]]] = {
    "order": order_chart,
    "promotion": promotion_chart,
    "scores": scores_chart,
    "drift": drift_chart,
    "latency_p50": partial(latency_chart, share=0.5),
    "latency_p95": partial(latency_chart, share=0.95),
    "texts": texts_chart,
    "volume": volume_chart,
    "feedback": feedback_chart,
    "choice": choice_chart,
}
"""Charts in the order of the page."""
