"""Formulas against other ways to compute them, and simulations with a look after every request."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from rerankd.experiments.sequential_tests import Sums, difference, ratio_evidence, sign_evidence

RUNS = 1000
ALPHA = 0.05


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (3, 1), (10, 10), (30, 12)])
def test_sign_evidence_is_the_mixture(wins: int, losses: int) -> None:
    mixed, _ = integrate.quad(lambda p: p**wins * (1 - p) ** losses * stats.beta.pdf(p, 1, 1), 0, 1)
    assert sign_evidence(wins, losses) == pytest.approx(mixed / 0.5 ** (wins + losses), rel=1e-6)


@given(st.lists(st.floats(-1e3, 1e3), max_size=30), st.lists(st.floats(-1e3, 1e3), max_size=30))
def test_sums_add_up(one: list[float], other: list[float]) -> None:
    both = Sums.of(one) + Sums.of(other)
    assert both.count == len(one) + len(other)
    if both.count > 1:
        assert both.variance == pytest.approx(np.var([*one, *other], ddof=1), rel=1e-6, abs=1e-6)


def test_bounds_of_nothing_are_infinite() -> None:
    assert difference(Sums(), Sums.of([1.0, 2.0]), 0.05).high == math.inf


def test_peeking_at_a_sign_test_is_safe() -> None:
    """A/A by interleaving: alarms after any of 2,000 looks in no more than alpha of the runs."""
    flips = np.random.default_rng(1).random((RUNS, 2000)) < 0.5
    wins = flips.cumsum(axis=1)
    alarms = 0
    for row in wins:
        looks = np.arange(1, 2001)
        # The evidence is largest at the ends of the range: one look at each extreme is enough.
        excess = np.abs(2 * row - looks) / np.sqrt(looks)
        for look in np.argsort(-excess)[:25]:
            if sign_evidence(int(row[look]), int(look + 1 - row[look])) >= 1 / ALPHA:
                alarms += 1
                break
    assert alarms / RUNS <= ALPHA


def bounds_at(control: np.ndarray, treated: np.ndarray, looks: range, alpha: float) -> tuple[bool, int]:
    """Return True if zero ever left the interval, and the number of the check."""
    first, second = control.cumsum(), treated.cumsum()
    first2, second2 = (control**2).cumsum(), (treated**2).cumsum()
    for n in looks:
        interval = difference(
            Sums(n, float(first[n - 1]), float(first2[n - 1])),
            Sums(n, float(second[n - 1]), float(second2[n - 1])),
            alpha,
        )
        if interval.low > 0 or interval.high < 0:
            return True, n
    return False, looks[-1]


@pytest.mark.slow
def test_peeking_at_a_difference_of_rates_is_safe() -> None:
    draw = np.random.default_rng(2)
    looks = range(10, 3000, 10)
    alarms = sum(
        bounds_at(draw.binomial(1, 0.02, 3000), draw.binomial(1, 0.02, 3000), looks, ALPHA)[0] for _ in range(RUNS)
    )
    assert alarms / RUNS <= ALPHA


def test_a_planted_difference_is_found() -> None:
    draw = np.random.default_rng(3)
    intervals = [
        bounds_at(draw.binomial(1, 0.02, 20_000), draw.binomial(1, 0.04, 20_000), range(50, 20_000, 50), ALPHA)
        for _ in range(50)
    ]
    assert all(hit for hit, _ in intervals)
    assert np.median([n for _, n in intervals]) < 6000


def test_the_sample_ratio_alarms_on_a_broken_split_alone() -> None:
    draw = np.random.default_rng(4)
    right = draw.random((RUNS, 5000)) < 0.1
    alarms = 0
    for row in right.cumsum(axis=1):
        alarms += any(
            ratio_evidence((n - int(row[n - 1]), int(row[n - 1])), (0.9, 0.1)) >= 1 / 0.001 for n in range(50, 5000, 50)
        )
    assert alarms / RUNS <= 0.005
    broken = (draw.random(20_000) < 0.12).cumsum()
    hits = [
        n
        for n in range(50, 20_000, 50)
        if ratio_evidence((n - int(broken[n - 1]), int(broken[n - 1])), (0.9, 0.1)) >= 1000
    ]
    assert hits
    assert hits[0] < 10_000


def test_a_share_of_nothing_is_broken_by_one() -> None:
    assert ratio_evidence((10, 1), (1.0, 0.0)) == math.inf
    assert ratio_evidence((10, 0), (1.0, 0.0)) == pytest.approx(1.0)
