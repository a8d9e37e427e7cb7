from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from rerankd.evaluation.bootstrap import Interval, bootstrap_intervals, resample_counts


def test_intervals_agree_with_scipy() -> None:
    values = np.random.default_rng(1).normal(0.02, 0.15, 400)
    interval = bootstrap_intervals(values[:, None])[0]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=2).confidence_interval
    assert (interval.low, interval.high) == pytest.approx((theirs.low, theirs.high), abs=0.0007)
    assert interval.mean == pytest.approx(values.mean())


def test_columns_are_drawn_together() -> None:
    values = np.random.default_rng(1).normal(size=(50, 1))
    first, second, difference = bootstrap_intervals(np.hstack([values, values + 1, (values + 1) - values]))
    assert second.low == pytest.approx(first.low + 1)
    assert (difference.low, difference.high) == pytest.approx((1, 1))


def test_the_same_every_time_and_in_blocks() -> None:
    values = np.random.default_rng(1).normal(size=(3000, 1))
    assert bootstrap_intervals(values, samples=2000) == bootstrap_intervals(values, samples=2000)
    blocks = list(resample_counts(3000, 2000))
    assert len(blocks) > 1
    assert sum(map(len, blocks)) == 2000
    assert all((block.sum(axis=1) == 3000).all() for block in blocks)
    assert bootstrap_intervals(np.array([[0.25]]))[0] == Interval(0.25, 0.25, 0.25)


def test_coverage() -> None:
    generator = np.random.default_rng(5)
    inside = 0
    for trial in range(200):
        interval = bootstrap_intervals(generator.exponential(1.0, (100, 1)), samples=500, seed=trial)[0]
        inside += interval.low <= 1.0 <= interval.high
    assert 0.88 <= inside / 200 <= 0.99


def test_ten_thousand_samples_of_a_thousand_queries_take_about_a_second() -> None:
    values = np.random.default_rng(1).normal(size=(1000, 6))
    started = time.process_time()
    bootstrap_intervals(values)
    assert time.process_time() - started < 3
