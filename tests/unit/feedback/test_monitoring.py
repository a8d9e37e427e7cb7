from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd._common.rank_correlation import rank_biased_overlap
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.monitoring import EVERYONE, MonitorWindows, monitor, psi
from rerankd.feedback.rates import feedback_rates
from rerankd.feedback.store import add_feedback
from rerankd.server.observability.collectors import ActivityGauges
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import PendingTrace, build_trace
from rerankd.types import Adjustment, MatchedRule
from tests.unit.traces.rankings import ranking

NOW = 1_000_000_000.0
SCORES = st.lists(st.floats(-50, 50), min_size=20, max_size=200)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    made = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    yield made
    made.close()


@pytest.mark.slow
@given(SCORES, SCORES)
def test_psi_is_no_less_than_zero_and_zero_for_the_same(reference: list[float], current: list[float]) -> None:
    assert psi(reference, current) >= 0
    assert psi(reference, list(reference)) == pytest.approx(0, abs=1e-12)


def test_psi_of_shifted_normals_is_what_the_integral_says() -> None:
    draw = np.random.default_rng(0)
    measured = psi(draw.normal(0, 1, 50_000), draw.normal(0.5, 1, 50_000))
    # Between normals one deviation apart the symmetric divergence is shift**2; ten bins lose some of it.
    assert 0.8 * 0.25 < measured < 0.25


@given(st.permutations(range(1, 9)))
def test_rbo_agrees_with_its_definition(order: list[int]) -> None:
    ranks = np.array(order)
    other = [int(position) + 1 for position in np.argsort(ranks)]  # documents by their new place
    p, depth, total, shared = 0.9, len(order), 0.0, 0
    for d in range(1, depth + 1):
        shared = len(set(range(1, d + 1)) & set(other[:d]))
        total += shared / d * p**d
    expected = shared / depth * p**depth + (1 - p) / p * total
    overlap = rank_biased_overlap(ranks)
    assert overlap == pytest.approx(expected)


def test_rates_have_an_interval_and_a_verdict() -> None:
    draw = random.Random(1)
    hurt = feedback_rates([(1, draw.randint(2, 5)) for _ in range(100)])
    assert hurt.verdict == "hurts"
    assert hurt.gain is not None
    assert hurt.gain_high is not None
    assert hurt.gain < hurt.gain_high < 0
    assert feedback_rates([(1, 3)] * 10).verdict == "too few"
    assert feedback_rates([(draw.randint(1, 9), draw.randint(1, 9)) for _ in range(100)]).verdict == "unclear"
    assert feedback_rates([(7, 1)] * 50).top5_before == 0.0
    assert feedback_rates([]).gain is None
    assert feedback_rates([(2, 1)]).gain_low is None


def test_no_verdict_without_a_difference() -> None:
    """Requests whose best document did not move cannot tell; of 300 null simulations few may say otherwise."""
    draw = random.Random(7)
    events = []
    for _ in range(300):
        pairs = [(draw.randint(1, 10), draw.randint(1, 10)) for _ in range(60)]
        events.append(feedback_rates(pairs).verdict)
    assert events.count("hurts") + events.count("helps") <= 0.1 * 300


def test_a_window_by_model_and_tenant(store: TraceStore) -> None:
    drafts = []
    for number in range(60):
        moved = number % 3 == 0
        scores = [1.0, 2.0, 0.0] if moved else [2.0, 1.0, 0.0]
        tenant = "a" if number < 40 else "b"
        drafts.append(build_trace(ranking(scores=scores, at=NOW - 60, request_id=f"r{number}", tenant=tenant, top_n=2)))
    drafts += [build_trace(ranking(scores=[9.0, 1.0, 0.0], at=NOW - 9000, request_id="old")) for _ in range(50)]
    store.write(drafts)
    events = [FeedbackEvent(f"r{number}", "click", 0, tenant="a", time=NOW - 30) for number in range(40)]
    events += [FeedbackEvent("r41", "thumb", value=-1, tenant="b", time=NOW - 30)]
    add_feedback(store, events)
    windows = MonitorWindows(3600, 86_400, floor=30, feedback_floor=30)
    everyone, a, b = monitor(store, windows, now=NOW)
    assert [(row.tenant, row.requests) for row in (everyone, a, b)] == [(EVERYONE, 60), ("a", 40), ("b", 20)]
    assert everyone.top_changed == pytest.approx(20 / 60)
    assert everyone.promotion == pytest.approx((20 / 60) * 0.5)  # the second rose one place, of two that are shown
    assert everyone.tau == pytest.approx(1 / 3 * (1 - 2 / 3) + 2 / 3)
    assert everyone.rbo is not None
    assert 0.9 < everyone.rbo < 1
    assert (everyone.top_score, everyone.margin, everyone.reference_requests) == (2.0, 1.0, 50)
    assert everyone.psi is not None
    assert everyone.psi > 0.25
    assert (a.psi, a.reference_requests) == (None, 0)  # nothing of this tenant before
    assert (a.feedback.requests, a.feedback.verdict) == (
        40,
        "hurts",
    )  # a third of the first stage's best were moved down
    assert (b.feedback.requests, b.feedback.negative, b.feedback.verdict) == (0, 1, "too few")
    assert everyone.latency_p95_ms == 6.0
    assert [row.tenant for row in monitor(store, windows, TraceFilter(tenant="b"), now=NOW)] == [EVERYONE, "b"]
    assert monitor(store, windows, TraceFilter(model="none"), now=NOW) == []
    assert not math.isnan(sum(filter(None, (everyone.tau, everyone.margin, everyone.promotion))))


def test_traces_of_before_the_measures_are_left_out_of_them(store: TraceStore) -> None:
    store.write([build_trace(ranking(at=NOW - 5))])
    with store.begin() as connection:
        connection.exec_driver_sql("UPDATE trace SET rbo = NULL, promotion = NULL")
    (row, _) = monitor(store, now=NOW)
    assert (row.rbo, row.promotion, row.requests) == (None, None, 1)


def timed(request_id: str, milliseconds: float, source: str) -> PendingTrace:
    record = ranking(request_id=request_id, at=NOW - 5, source=source)
    return build_trace(dataclasses.replace(record, timings={"total": milliseconds}))


def test_latency_is_that_of_requests_and_jobs_have_their_own(store: TraceStore) -> None:
    store.write([timed(f"r{number}", 760.0, source) for number, source in enumerate(["http", "library"] * 10)])
    store.write([timed(f"j{number}", 6_300.0, "job") for number in range(40)])
    (everyone, _) = monitor(store, now=NOW)
    assert (everyone.requests, everyone.job_rankings) == (60, 40)
    assert (everyone.latency_p50_ms, everyone.latency_p95_ms, everyone.job_latency_p95_ms) == (760.0, 760.0, 6_300.0)


@pytest.mark.parametrize(("source", "expected"), [("job", (None, None, 9.0)), ("http", (9.0, 9.0, None))])
def test_what_was_not_measured_has_no_latency(
    store: TraceStore, source: str, expected: tuple[float | None, float | None, float | None]
) -> None:
    store.write([timed("r1", 9.0, source)])
    (everyone, _) = monitor(store, now=NOW)
    assert (everyone.latency_p50_ms, everyone.latency_p95_ms, everyone.job_latency_p95_ms) == expected
    gauges = ActivityGauges()
    gauges.update([everyone])
    names = {sample.name for metric in gauges.collect() for sample in metric.samples}
    assert ("rerankd_activity_latency_p95_seconds" in names) is (source == "http")
    assert ("rerankd_activity_job_latency_p95_seconds" in names) is (source == "job")


def test_a_ranking_that_rules_emptied_has_no_top_score(store: TraceStore) -> None:
    record = ranking(documents=["a", "b"], scores=[7, 8], at=NOW - 5)
    hidden = Adjustment(filtered=True, matched_rules=(MatchedRule("none", "filter", 0.0),))
    store.write([build_trace(dataclasses.replace(record, adjustments=[hidden, hidden]))])
    (row, _) = monitor(store, now=NOW)
    assert (row.requests, row.top_score, row.margin) == (1, 0.0, None)
    store.write([build_trace(ranking(documents=["a", "b"], scores=[7, 8], at=NOW - 5, request_id="r2"))])
    (row, _) = monitor(store, now=NOW)
    assert (row.requests, row.top_score) == (2, 8.0)
