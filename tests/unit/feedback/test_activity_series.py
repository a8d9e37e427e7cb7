"""Monitoring over time against a naive computation from the traces."""

from __future__ import annotations

import dataclasses
import math
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from rerankd.database import tables
from rerankd.feedback import activity_summaries
from rerankd.feedback.activity_series import (
    WINDOWS,
    ActivitySeries,
    TimeBuckets,
    read_series,
    read_totals,
    refresh_activity,
)
from rerankd.feedback.activity_summaries import DAY, STAGES, STEPS, delete_old_summaries, refresh_summaries
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.judged_rankings import SETTLED_SECONDS, refresh_judged_rankings
from rerankd.feedback.monitoring import EVERYONE, psi
from rerankd.feedback.retention import erase_tenant
from rerankd.feedback.score_drift import cover, drift, drift_series, read_scores
from rerankd.feedback.sketch import EMPTY, Sketch
from rerankd.feedback.store import add_feedback
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import PendingTrace, build_trace
from tests.unit.feedback.written import write
from tests.unit.traces.rankings import ranking

NOW = 1_700_000_000.0
HOUR = 3600.0


@dataclasses.dataclass(frozen=True)
class Made:
    """Numbers of a trace."""

    age: float
    tenant: str
    model: str
    version: str
    source: str
    top_before: int
    top_score: float
    tau: float | None
    truncated: int
    cached: int
    total_ms: float

    def pending(self, number: int) -> PendingTrace:
        """Return a trace with these numbers."""
        pending = build_trace(ranking(request_id=f"r{number}", at=NOW - self.age))
        names = ("tenant", "model", "version", "source", "top_before", "top_score", "tau", "truncated", "cached")
        pending.row.update({name: getattr(self, name) for name in names})
        pending.row.update({f"{stage}_ms": self.total_ms / 4 for stage in STAGES} | {"total_ms": self.total_ms})
        return pending


MADE = st.builds(
    Made,
    age=st.floats(0, 2 * HOUR) | st.floats(0, 44 * DAY),
    tenant=st.sampled_from(["", "search", "shop"]),
    model=st.sampled_from(["mini", "large"]),
    version=st.sampled_from(["v1", "v2"]),
    source=st.sampled_from(["http", "job", "library"]),
    top_before=st.integers(0, 5),
    top_score=st.floats(-20, 20),
    tau=st.none() | st.floats(-1, 1),
    truncated=st.integers(0, 3),
    cached=st.integers(0, 3),
    total_ms=st.floats(0.5, 5000),
)


@settings(max_examples=10)
@given(st.lists(MADE, min_size=1, max_size=40), st.sampled_from(list(WINDOWS)), st.sampled_from([None, "search"]))
def test_each_bucket_is_what_its_traces_say(
    tmp_path_factory: pytest.TempPathFactory, made: list[Made], window: str, tenant: str | None
) -> None:
    store = TraceStore(f"sqlite:///{tmp_path_factory.mktemp('store')}/traces.sqlite")
    half = len(made) // 2
    for first, part in ((0, made[:half]), (half, made[half:])):  # the second half adds to what is stored
        if part:
            store.write([each.pending(first + number) for number, each in enumerate(part)])
        assert refresh_activity(store, 60, now=NOW) is False
    buckets = TimeBuckets.ending(NOW, *WINDOWS[window])
    for model in ("mini", "large"):
        series = read_series(store, buckets, model, tenant)
        for position, start in enumerate(buckets.starts):
            members = [
                each
                for each in made
                if start <= NOW - each.age < start + buckets.step
                and each.model == model
                and tenant in (None, each.tenant)
            ]
            _check(series, position, members)
    store.close()


def _check(series: ActivitySeries, position: int, members: list[Made]) -> None:
    def total(values: list[float]) -> Any:
        return pytest.approx(math.fsum(values))

    at = {name: float(values[position]) for name, values in series.sums.items()}
    waited = [each for each in members if each.source != "job"]
    assert at["requests"] == len(members)
    assert at["jobs"] == len(members) - len(waited)
    assert at["slow"] == sum(each.total_ms > 1000 for each in waited)
    assert at["top_changed"] == sum(each.top_before > 1 for each in members)
    assert at["truncated"] == total([each.truncated for each in members])
    assert at["cached"] == total([each.cached for each in members])
    assert at["documents"] == 3 * len(members)
    assert at["tau_count"] == sum(each.tau is not None for each in members)
    assert at["tau_total"] == total([each.tau for each in members if each.tau is not None])
    assert {version: values[position] for version, values in series.versions.items() if values[position]} == {
        version: sum(each.version == version for each in members) for version in {each.version for each in members}
    }
    shown = [each.top_score for each in members if each.top_before]
    _check_quantile(float(series.scores.quantile(0.5)[position]), shown, 0.5)
    for stage, part in (("total", 1.0), ("queue", 0.25)):
        values = [each.total_ms * part for each in waited]
        _check_quantile(float(series.latencies[stage].quantile(0.95)[position]), values, 0.95)


def _check_quantile(measured: float, values: list[float], share: float) -> None:
    if not values:
        assert math.isnan(measured)
        return
    allowed = 0.0101 * max(map(abs, values)) + 0.002
    assert measured == pytest.approx(float(np.quantile(values, share)), abs=allowed)


def test_two_instances_add_each_trace_once(store: TraceStore) -> None:
    other = TraceStore(str(store.engine.url))
    for number in range(5):
        write(store, f"r{number}", 1.0, 2.0, at=NOW - number)
        refresh_summaries((store, other)[number % 2], now=NOW)
    refresh_summaries(other, now=NOW)
    series = read_series(store, TimeBuckets.ending(NOW, *WINDOWS["1h"]), "mini")
    assert series.sums["requests"].sum() == 5
    other.close()


def test_many_traces_take_several_batches(store: TraceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity_summaries, "BATCH_SIZE", 3)
    store.write([build_trace(ranking(request_id=f"r{number}", at=NOW - number)) for number in range(8)])
    assert refresh_summaries(store, seconds=-1, now=NOW) is True
    assert refresh_summaries(store, now=NOW) is False
    [total] = read_totals(store, TimeBuckets.ending(NOW, *WINDOWS["1h"]), tenant="search")
    assert total.sums["requests"] == 8


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_cover_has_each_minute_once(first: int, length: int) -> None:
    since, until = first * 60, (first + length) * 60
    pieces = cover(since, until)
    assert sum(end - begin for _, begin, end in pieces) == until - since
    ordered = sorted((begin, end) for _, begin, end in pieces)
    assert all(left[1] <= right[0] for left, right in pairwise(ordered))
    assert all(begin % step == 0 == end % step for step, begin, end in pieces)
    assert all(since <= begin < end <= until for _, begin, end in pieces)


def test_drift_is_the_psi_of_the_scores(store: TraceStore) -> None:
    draw = np.random.default_rng(1)
    before, after = draw.normal(2, 1, 600), draw.normal(2.5, 1, 400)
    pending = []
    for position, score in enumerate([*before, *after]):
        at = NOW - 1800 if position >= 600 else NOW - 3600 - 80_000 * draw.random()
        trace = build_trace(ranking(request_id=f"r{position}", at=at))
        trace.row["top_score"] = float(score)
        pending.append(trace)
    store.write(pending)
    refresh_activity(store, 60, now=NOW)
    end = int(NOW // 60) * 60
    reference, current = (read_scores(store, *span)["mini"] for span in ((end - 86_400, end - 3540), (end - 3540, end)))
    assert (len(reference), len(current)) == (600, 400)
    expected = psi(before, after)
    assert drift(reference, current, 200) == pytest.approx(expected, abs=0.02)
    series = read_series(store, TimeBuckets.ending(NOW, *WINDOWS["1h"]), "mini")
    trailing = drift_series(reference, series.scores, 200, trailing=60)
    assert trailing[-1] == pytest.approx(expected, abs=0.02)
    assert np.isnan(trailing[0])
    assert drift(EMPTY, current, 200) is None
    assert drift(Sketch.of(np.ones(300)), Sketch.of(np.ones(300)), 200) == pytest.approx(0)


def test_feedback_counts_once_for_each_ranking_and_by_its_last_word(store: TraceStore) -> None:
    for number in range(3):
        write(store, f"r{number}", 1.0, 3.0, 2.0, at=NOW - 60)
    write(store, "r3", 1.0, 2.0, at=NOW - 60, tenant="shop")
    events = [
        FeedbackEvent("r0", "click", 1, tenant="search", time=NOW - 50),  # rank 1 after, 2 before
        FeedbackEvent("r0", "click", 2, tenant="search", time=NOW - 40),  # rank 2 after, 3 before
        FeedbackEvent("r1", "thumb", 0, value=1, tenant="search", time=NOW - 30),  # rank 3 after, 1 before
        FeedbackEvent("r2", "thumb", value=-1, tenant="search", time=NOW - 30),
        FeedbackEvent("r3", "click", 0, tenant="search", time=NOW - 30),  # another tenant's: has no effect
    ]
    add_feedback(store, events)
    refresh_activity(store, 60, now=NOW)
    buckets = TimeBuckets.ending(NOW, *WINDOWS["1h"])
    feedback = read_series(store, buckets, "mini").feedback
    assert {name: float(values.sum()) for name, values in feedback.items()} == pytest.approx(
        {
            "judged": 3,
            "chosen": 2,
            "rejected": 1,
            "before": 0.5 + 1,
            "after": 1 + 1 / 3,
            "squares": 0.25 + (2 / 3) ** 2,
        }
    )
    assert feedback["judged"].argmax() == (NOW - 60 - buckets.since) // 60
    add_feedback(store, [FeedbackEvent("r1", "thumb", 0, value=-1, tenant="search", time=NOW - 20)])
    refresh_activity(store, 60, now=NOW + 1)
    feedback = read_series(store, buckets, "mini").feedback
    assert (feedback["judged"].sum(), feedback["chosen"].sum(), feedback["rejected"].sum()) == (3, 1, 2)
    assert read_series(store, buckets, "mini", "shop").feedback["judged"].sum() == 0


def test_feedback_that_comes_before_its_trace(store: TraceStore) -> None:
    add_feedback(store, [FeedbackEvent("r0", "click", 1, tenant="search", time=NOW)])
    refresh_judged_rankings(store, now=NOW)
    write(store, "r0", 1.0, 2.0, at=NOW)
    refresh_judged_rankings(store, now=NOW + SETTLED_SECONDS + 1)
    assert _judged(store) == 1
    for later in (2, 3):  # what is settled is not looked at again
        refresh_judged_rankings(store, now=NOW + later * (SETTLED_SECONDS + 1))
    with store.connect() as connection:
        state = connection.execute(select(tables.activity_state)).one()
    assert state.feedback_settled == state.feedback_seen == 1


def _judged(store: TraceStore) -> int:
    with store.connect() as connection:
        return int(connection.scalar(select(func.count()).select_from(tables.judged_ranking)) or 0)


def test_totals_by_model_and_tenant(store: TraceStore) -> None:
    for number, tenant in enumerate(["search", "search", "shop"]):
        write(store, f"r{number}", 1.0, 2.0, at=NOW, tenant=tenant)
    add_feedback(store, [FeedbackEvent("r2", "click", 1, tenant="shop", time=NOW)])
    refresh_activity(store, 60, now=NOW)
    buckets = TimeBuckets.ending(NOW, *WINDOWS["30d"])
    rows = read_totals(store, buckets)
    assert [(row.tenant, row.sums["requests"]) for row in rows] == [(EVERYONE, 3), ("search", 2), ("shop", 1)]
    assert [row.feedback["chosen"] for row in rows] == [1, 0, 1]
    assert [row.tenant for row in read_totals(store, buckets, tenant="shop")] == ["shop"]


def test_what_is_not_kept_is_deleted_and_not_made(store: TraceStore) -> None:
    write(store, "old", 1.0, 2.0, at=NOW - 3 * DAY)
    write(store, "new", 1.0, 2.0, at=NOW)
    refresh_activity(store, 60, now=NOW)
    assert _steps(store) == {60: 2, 900: 2, 10_800: 4, 43_200: 4}
    delete_old_summaries(store, now=NOW + 3 * DAY)
    assert _steps(store) == {10_800: 4, 43_200: 4}
    delete_old_summaries(store, now=NOW + max(STEPS.values()) + DAY)
    assert _steps(store) == {}


def _steps(store: TraceStore) -> dict[int, int]:
    columns = tables.activity_summary.c
    with store.connect() as connection:
        rows = connection.execute(select(columns.step, func.count()).group_by(columns.step)).all()
    return {row[0]: row[1] for row in rows}


def test_an_erased_tenant_is_gone(store: TraceStore) -> None:
    for number, tenant in enumerate(["search", "shop"]):
        write(store, f"r{number}", 1.0, 2.0, at=NOW, tenant=tenant)
        add_feedback(store, [FeedbackEvent(f"r{number}", "click", 1, tenant=tenant, time=NOW)])
    refresh_activity(store, 60, now=NOW)
    erase_tenant(store, "shop")
    buckets = TimeBuckets.ending(NOW, *WINDOWS["1h"])
    assert [row.tenant for row in read_totals(store, buckets)] == [EVERYONE, "search"]
    assert _judged(store) == 1


def test_random_feedback_against_the_exact_statistics(store: TraceStore, tmp_path: Path) -> None:
    """The sums agree with `feedback_rates`, which monitoring of one window uses."""
    from rerankd.feedback.monitoring import MonitorWindows, monitor
    from rerankd.feedback.rates import gain_interval

    draw = random.Random(3)
    for number in range(60):
        write(store, f"r{number}", *(draw.random() for _ in range(5)), at=NOW - draw.random() * 3000)
        kind = draw.choice(["click", "thumb", "grade"])
        value = {"click": 1, "thumb": draw.choice([1, -1]), "grade": draw.choice([0, 2])}[kind]
        event = FeedbackEvent(f"r{number}", kind, draw.randrange(5), value=value, tenant="search", time=NOW)  # type: ignore[arg-type]
        add_feedback(store, [event])
    refresh_activity(store, 60, now=NOW + 1)
    [exact] = [row for row in monitor(store, MonitorWindows(), now=NOW + 1) if row.tenant == EVERYONE]
    [row] = [row for row in read_totals(store, TimeBuckets.ending(NOW, *WINDOWS["1h"])) if row.tenant == EVERYONE]
    sums, rates = row.feedback, exact.feedback
    assert sums["chosen"] == rates.requests
    assert sums["rejected"] == rates.negative
    interval = gain_interval(rates.requests, sums["after"] - sums["before"], sums["squares"])
    assert interval == pytest.approx((rates.gain, rates.gain_low, rates.gain_high))
    assert row.sums["top_changed"] / row.sums["requests"] == pytest.approx(exact.top_changed)
    assert row.sums["tau_total"] / row.sums["tau_count"] == pytest.approx(exact.tau)
