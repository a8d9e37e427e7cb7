"""Monitoring over time in PostgreSQL: it says what SQLite says, also when several instances refresh at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rerankd.feedback.activity_figures import ActivityFigures
from rerankd.feedback.activity_series import WINDOWS, TimeBuckets, read_series, read_totals, refresh_activity
from rerankd.feedback.activity_summaries import delete_old_summaries
from rerankd.feedback.monitoring import MonitorWindows
from rerankd.feedback.retention import erase_tenant
from rerankd.feedback.sketch import SketchSeries
from rerankd.server.observability.alerts import trace_alerts
from rerankd.traces.store import TraceStore
from tests.integration.console.activity import seed_activity
from tests.integration.postgres import Postgres

COUNT = 1500


@pytest.fixture
def stores(postgres: Postgres, tmp_path: Path) -> Iterator[tuple[TraceStore, TraceStore, float]]:
    """Yield a SQLite and a PostgreSQL store with the same rankings, and their time."""
    now = time.time()
    made = (TraceStore(f"sqlite:///{tmp_path}/traces.sqlite"), TraceStore(postgres.fresh("activity")))
    for store in made:
        seed_activity(
            store, COUNT, tenants=["search", "shop"], models=["mini", "large"], days=29, now=now, feedback=0.3
        )
    yield *made, now
    for store in made:
        store.close()


def test_both_databases_say_the_same(stores: tuple[TraceStore, TraceStore, float]) -> None:
    *both, now = stores
    with ThreadPoolExecutor(8) as pool:  # every trace is counted once, whoever is faster
        list(pool.map(lambda store: refresh_activity(store, 60, now=now), [*both] * 4))
    for window in WINDOWS.values():
        buckets = TimeBuckets.ending(now, *window)
        sqlite, postgres = (read_series(store, buckets, "mini", "search") for store in both)
        for name, values in sqlite.sums.items():
            assert np.allclose(values, postgres.sums[name]), name
        for name, values in sqlite.feedback.items():
            assert np.allclose(values, postgres.feedback[name]), name
        assert _equal(sqlite.scores, postgres.scores)
        assert _equal(sqlite.latencies["total"], postgres.latencies["total"])
        assert sqlite.versions.keys() == postgres.versions.keys()
        totals = [
            [(row.model, row.tenant, row.sums["requests"]) for row in read_totals(store, buckets)] for store in both
        ]
        assert totals[0] == totals[1]
    assert sum(row.sums["requests"] for row in read_totals(both[1], buckets, tenant="shop")) == COUNT / 2
    alerts = [trace_alerts(ActivityFigures(store, MonitorWindows()), now) for store in both]
    assert alerts[0] == alerts[1]
    erase_tenant(both[1], "shop")
    delete_old_summaries(both[1], now=now)
    assert read_totals(both[1], buckets, tenant="shop") == []


def _equal(left: SketchSeries, right: SketchSeries) -> bool:
    return np.array_equal(left.bins, right.bins) and np.array_equal(left.counts, right.counts)
