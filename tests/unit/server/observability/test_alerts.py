"""Alerts that the console evaluates: from traces with their past, and from gauges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Gauge

from rerankd.feedback.activity_figures import ActivityFigures
from rerankd.feedback.activity_series import refresh_activity
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.monitoring import MonitorWindows
from rerankd.feedback.store import add_feedback
from rerankd.server.observability.alerts import Alert, InstanceAlerts, trace_alerts
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import build_trace
from tests.unit.traces.rankings import ranking

NOW = 1_700_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    opened = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    yield opened
    opened.close()


def write(
    store: TraceStore, ages: np.ndarray, tenant: str = "search", scores: np.ndarray | float = 1.0, total: float = 5.0
) -> None:
    pending = []
    for age, score in zip(ages, np.broadcast_to(scores, len(ages)), strict=True):
        trace = build_trace(ranking(request_id=f"{tenant}-{total}-{age}", at=NOW - float(age), tenant=tenant))
        trace.row.update(top_score=float(score), total_ms=total)
        pending.append(trace)
    store.write(pending)


def alerts(store: TraceStore, tenant: str | None = None) -> list[tuple[str, str, str]]:
    refresh_activity(store, 60, now=NOW)
    found = trace_alerts(ActivityFigures(store, MonitorWindows(), tenant), NOW)
    return [(alert.name, alert.state, alert.subject) for alert in found]


def test_nothing_fires_without_rankings(store: TraceStore) -> None:
    assert alerts(store) == []


def test_scores_that_drift_are_pending_and_then_firing(store: TraceStore) -> None:
    draw = np.random.default_rng(0)
    write(store, np.linspace(4000, 80_000, 300), scores=draw.normal(0, 1, 300))
    write(store, np.linspace(1, 1500, 300), scores=draw.normal(3, 1, 300))
    assert alerts(store) == [("RerankdScoresDrift", "pending", "mini")]
    write(store, np.linspace(1900.5, 3000.5, 300), scores=draw.normal(3, 1, 300))
    assert alerts(store) == [("RerankdScoresDrift", "firing", "mini")]
    assert alerts(store, "shop") == []


def test_rankings_that_take_long(store: TraceStore) -> None:
    write(store, np.linspace(0, 20_000, 300))
    write(store, np.linspace(0, 3000, 100), total=1500.0)
    names = {name: state for name, state, _ in alerts(store)}
    assert names == {"RerankdSlowFast": "firing", "RerankdSlow": "firing"}


def test_a_few_slow_ones_do_not_fire(store: TraceStore) -> None:
    write(store, np.linspace(0, 3000, 300))
    write(store, np.linspace(0, 3000, 9), total=1500.0)
    assert alerts(store) == []


def test_feedback_that_says_reranking_hurts(store: TraceStore) -> None:
    for number in range(40):
        if number == 35:  # ten minutes ago there were only twenty-five
            assert alerts(store) == [("RerankdRerankingHurts", "pending", "mini")]
        write(store, np.array([60.0 * number + 1]), tenant="search")
        request = f"search-5.0-{60.0 * number + 1}"
        add_feedback(store, [FeedbackEvent(request, "click", 0, tenant="search", time=NOW)])
    assert alerts(store) == [("RerankdRerankingHurts", "firing", "mini")]
    assert alerts(store, "shop") == []


def test_gauges_fire_once_they_have_been_seen_for_long_enough() -> None:
    registry, clock = CollectorRegistry(), [0.0]
    tokens = Gauge("rerankd_queue_tokens", "", ("model",), registry=registry)
    capacity = Gauge("rerankd_queue_capacity_tokens", "", ("model",), registry=registry)
    up = Gauge("rerankd_dependency_up", "", ("dependency",), registry=registry)
    waiting = Gauge("rerankd_job_parts_waiting", "", ("priority",), registry=registry)
    capacity.labels("mini").set(100)
    tokens.labels("mini").set(80)
    up.labels("cache").set(1)
    waiting.labels("bulk").set(1000)
    instance = InstanceAlerts(registry, lambda: clock[0])
    assert instance.poll() == [Alert("RerankdQueueLong", "warning", "pending", "mini", 0.8, 0.7, 120)]
    clock[0] = 120.0
    up.labels("cache").set(0)
    assert [(alert.name, alert.state, alert.subject) for alert in instance.poll()] == [
        ("RerankdQueueLong", "firing", "mini"),
        ("RerankdDependencyDown", "pending", "cache"),
    ]
    tokens.labels("mini").set(0)
    assert [alert.name for alert in instance.poll()] == ["RerankdDependencyDown"]
    tokens.labels("mini").set(90)
    assert instance.poll()[0].state == "pending"  # it begins again
