from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidRequestError
from rerankd.ranking.activation import activate

logits = st.lists(st.floats(-1e6, 1e6), max_size=30)


@given(logits)
def test_sigmoid_is_monotone_and_bounded(values: list[float]) -> None:
    scores = activate(values, "sigmoid")
    assert scores.dtype == np.float64
    assert ((scores >= 0) & (scores <= 1)).all()
    order = np.argsort(values)
    assert (np.diff(scores[order]) >= 0).all()


def test_sigmoid_keeps_close_logits_apart() -> None:
    low, high = activate([20.0, 20.001], "sigmoid")
    assert low < high < 1


def test_sigmoid_of_the_model_card() -> None:
    assert activate([-5.65234375], "sigmoid")[0] == pytest.approx(0.003497, abs=1e-6)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_softmax_sums_to_one(values: list[float]) -> None:
    assert activate(values, "softmax").sum() == pytest.approx(1.0)


def test_none_changes_nothing() -> None:
    assert activate([3.5, -2.0], "none").tolist() == [3.5, -2.0]
    assert activate([], "softmax").tolist() == []


def test_unknown_activation() -> None:
    with pytest.raises(InvalidRequestError, match=r"Unknown activation 'tanh'. Use one of sigmoid, none, softmax."):
        activate([1.0], "tanh")  # type: ignore[arg-type]
