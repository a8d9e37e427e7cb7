"""The page of monitoring: what rankings did over time, for each model and tenant, and the alerts that are firing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal, get_args
from urllib.parse import quote, urlencode

import numpy as np
from pydantic import BaseModel, Field
from starlette.requests import Request

from rerankd.console import formats
from rerankd.console.monitor_charts import Drift, charts_of
from rerankd.console.monitor_marks import marks_of
from rerankd.console.router import ConsoleRouter, query_of
from rerankd.console.summary_refresh import SummaryRefresh
from rerankd.console.visitor import Visitor
from rerankd.errors import PermissionDeniedError
from rerankd.evaluation.report.markup import printable
from rerankd.experiments.store import ExperimentStore
from rerankd.feedback.activity_figures import ActivityFigures
from rerankd.feedback.activity_series import (
    WINDOWS,
    ActivitySeries,
    ActivityTotals,
    TimeBuckets,
    read_feedback_sums,
    read_series,
    read_totals,
    refresh_activity,
)
from rerankd.feedback.monitoring import EVERYONE, MonitorWindows
from rerankd.feedback.rates import gain_interval, verdict_of
from rerankd.feedback.score_drift import drift_series, read_scores
from rerankd.feedback.sketch import EMPTY, Sketch
from rerankd.server.observability.alert_rules import ALERT_RULES
from rerankd.server.observability.alerts import Alert, InstanceAlerts, trace_alerts
from rerankd.server.paths import CONSOLE
from rerankd.server.service import Service
from rerankd.traces.store import TraceStore

Window = Literal["1h", "24h", "7d", "30d"]
REFRESH_SECONDS = 1.0  # that one step of summarizing takes
MAX_ROWS = 50
SECTIONS = ("traces", "instance", "prometheus")


class MonitorQuery(BaseModel):
    """Parameters of the page."""

    model: str | None = Field(None, max_length=200)
    tenant: str | None = Field(None, max_length=200)
    window: Window = "24h"


class MonitorPages:
    """The page of monitoring."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._instance = InstanceAlerts(service.metrics.registry)
        self._refresh = SummaryRefresh(lambda: service.trace_service.call(self._summarize))
        settings = service.settings
        self._windows = MonitorWindows(settings.monitor_window, settings.monitor_reference)

    async def show(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Show a window of a model."""
        self._service.check_traces()
        query = query_of(request, MonitorQuery)
        if visitor.tenant == EVERYONE:
            raise PermissionDeniedError(f"The tenant {EVERYONE} stands for all tenants.", hint="Rename the tenant.")
        instance = self._instance.poll() if visitor.is_admin else []
        is_complete = await self._refresh.wait()
        content = await self._service.trace_service.call(self._read, query, visitor, instance)
        return {**content, "is_complete": is_complete}

    def _summarize(self) -> bool:
        return refresh_activity(self._service.trace_service.store, REFRESH_SECONDS)

    def _read(self, query: MonitorQuery, visitor: Visitor, instance: Sequence[Alert]) -> Mapping[str, Any]:
        store, now = self._service.trace_service.store, time.time()
        buckets = TimeBuckets.ending(now, *WINDOWS[query.window])
        totals = read_totals(store, buckets, tenant=visitor.tenant, limit=MAX_ROWS)
        earlier = read_feedback_sums(store, _period_before(buckets), tenant=visitor.tenant)
        models = list(dict.fromkeys(row.model for row in totals))
        tenants = [row.tenant for row in totals if row.tenant not in ("", EVERYONE)]
        tenant = visitor.tenant
        if tenant is None and query.tenant != EVERYONE:
            tenant = _named(query.tenant, tenants)
        model = _named(query.model, models) or next(iter(models), None)
        figures = ActivityFigures(store, self._windows, tenant)
        alerts = [*trace_alerts(figures, now), *instance]
        content: dict[str, Any] = {
            "filter": {"model": model, "tenant": tenant, "window": query.window},
            "windows": [{"name": name, "address": _address(model, tenant, name)} for name in get_args(Window)],
            "models": models if model in models or model is None else [*models, model],
            "tenants": sorted({*tenants, *([tenant] if tenant else [])}) if visitor.tenant is None else [],
            "now": now,
            "alerts": [asdict(alert) for alert in alerts],
            "alert_counts": {source: sum(rule.source == source for rule in ALERT_RULES) for source in SECTIONS},
            "rows": _rows(totals, earlier, query.window),
            "points": [],
            "marks": [],
            "charts": [],
        }
        if model is None:
            return content
        series = read_series(store, buckets, model, tenant)
        if not series.sums["requests"].any():
            return content
        experiments, events = ExperimentStore(store), []
        if visitor.is_admin:
            events = experiments.events(model=model, since=float(buckets.since))
        tested = [each for each in experiments.recent() if each.model == model]
        marks = marks_of(series, events, visitor.language, tested)
        drift = self._drift(store, series, model, tenant)
        return content | {
            "points": _points(buckets, model, tenant),
            "marks": marks,
            "charts": charts_of(series, drift, visitor.language, marks),
        }

    def _drift(self, store: TraceStore, series: ActivitySeries, model: str, tenant: str | None) -> Drift:
        """Return the drift against the time before the window, or, with nothing before, against the first quarter."""
        buckets, floor = series.buckets, self._windows.floor
        since, until = buckets.since - int(self._windows.reference_seconds), buckets.since
        reference = read_scores(store, since, until, tenant).get(model, EMPTY)
        if len(reference) < floor:
            first, last = first_quarter(series)
            since, until = buckets.since + first * buckets.step, buckets.since + last * buckets.step
            reference = Sketch(series.scores.bins, series.scores.counts[first:last].sum(axis=0))
        trailing = max(1, int(self._windows.seconds) // buckets.step)
        return Drift(drift_series(reference, series.scores, floor, trailing), since, until, floor)


def first_quarter(series: ActivitySeries) -> tuple[int, int]:
    """Return the begin and the end of the first quarter of the buckets, from the first that has a ranking on."""
    filled = np.flatnonzero(series.sums["requests"])
    first = int(filled[0]) if len(filled) else 0
    return first, first + max(1, (series.buckets.count - first) // 4)


def _named(wanted: str | None, names: Sequence[str]) -> str | None:
    """Return the name that a form asks for: characters that HTML may not hold are replaced in what it sends."""
    if wanted is None or wanted in names:
        return wanted
    return next((name for name in names if printable(name) == wanted), wanted)


def _period_before(buckets: TimeBuckets) -> TimeBuckets:
    """Return the window of the same length that ends where a window begins."""
    return replace(buckets, since=buckets.since - buckets.step * buckets.count)


def _rows(
    totals: Sequence[ActivityTotals], earlier: Mapping[tuple[str, str], Mapping[str, float]], window: str
) -> list[dict[str, Any]]:
    """Return the rows of a window, each with the gain of the same model and tenant in the window before."""
    gains = {key: _gain(feedback)[0] for key, feedback in earlier.items()}
    return [_row(row, window) | {"gain_before": gains.get((row.model, row.tenant))} for row in totals]


def _gain(feedback: Mapping[str, float]) -> tuple[float | None, float | None, float | None]:
    """Return the gain in reciprocal rank with its interval; None without a chosen document."""
    if not (chosen := int(feedback["chosen"])):
        return None, None, None
    return gain_interval(chosen, feedback["after"] - feedback["before"], feedback["squares"])


def _row(row: ActivityTotals, window: str) -> dict[str, Any]:
    """Return a row of the table of models and tenants."""
    sums, feedback = row.sums, row.feedback

    def share(part: str, whole: str) -> float | None:
        return sums[part] / sums[whole] if sums[whole] else None

    chosen, judged = int(feedback["chosen"]), feedback["judged"]
    gain, low, high = _gain(feedback)
    waited = sums["requests"] - sums["jobs"]
    tenant = None if row.tenant == EVERYONE else row.tenant
    return {
        "model": row.model,
        "tenant": row.tenant,
        "requests": int(sums["requests"]),
        "top_changed": share("top_changed", "requests"),
        "tau": share("tau_total", "tau_count"),
        "promotion": share("promotion_total", "promotion_count"),
        "slow": sums["slow"] / waited if waited else None,
        "truncated": share("truncated", "documents"),
        "cached": share("cached", "documents"),
        "positive": chosen / judged if judged else None,
        "negative": feedback["rejected"] / judged if judged else None,
        "gain": gain,
        "gain_low": low,
        "gain_high": high,
        "verdict": verdict_of(chosen, low, high).replace(" ", "_"),
        "address": None if tenant == "" else _address(row.model, tenant, window),
    }


def _points(buckets: TimeBuckets, model: str, tenant: str | None) -> list[dict[str, Any]]:
    """Return the address of the traces behind each point of the charts."""
    fixed = urlencode({"model": model} | ({"tenant": tenant} if tenant else {}))
    moments = [quote(formats.iso_moment(start)) for start in (*buckets.starts, buckets.until)]
    return [
        {"start": start, "traces": f"{CONSOLE}/traces?since={since}&until={until}&{fixed}"}
        for start, since, until in zip(buckets.starts, moments, moments[1:], strict=False)
    ]


def _address(model: str | None, tenant: str | None, window: str) -> str:
    values = {"model": model, "tenant": tenant, "window": window}
    return f"{CONSOLE}/monitor?{urlencode({name: value for name, value in values.items() if value})}"


def register(router: ConsoleRouter, service: Service) -> None:
    """Register the page of monitoring."""
    router.page("/monitor", "monitor.html", MonitorPages(service).show)
