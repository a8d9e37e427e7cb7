from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from rerankd._common.rank_correlation import agreement, kendall_tau, top_overlap

small = st.lists(st.integers(-4, 4), min_size=2, max_size=25)


@pytest.mark.slow
@given(st.data())
def test_kendall_tau_agrees_with_scipy(data: st.DataObject) -> None:
    first = np.array(data.draw(small), dtype=float)
    second = np.array(data.draw(st.lists(st.integers(-4, 4), min_size=len(first), max_size=len(first))), dtype=float)
    if len(set(first)) > 1 and len(set(second)) > 1:
        assert kendall_tau(first, second) == pytest.approx(kendalltau(first, second).statistic)


def test_kendall_tau_of_constant_scores() -> None:
    assert kendall_tau(np.ones(3), np.ones(3)) == 1.0
    assert kendall_tau(np.ones(3), np.arange(3.0)) == 0.0


def test_top_overlap() -> None:
    scores = np.arange(10.0)
    assert top_overlap(scores, scores) == 1.0
    assert top_overlap(scores, -scores) == 0.0


def test_agreement() -> None:
    reference = [np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0])]
    other = [np.array([1.0, 2.0, 3.5]), np.array([1.0, 0.0])]
    measured = agreement(reference, other)
    assert (measured.pairs, measured.max_delta, measured.kendall_tau) == (5, 1.0, 0.0)
