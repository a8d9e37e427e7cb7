from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidRequestError
from rerankd.scoring.batches import BatchLimits, plan_batches

lengths = st.lists(st.integers(1, 600), max_size=80)


@given(lengths, st.integers(1, 2000), st.none() | st.integers(1, 20), st.none() | st.floats(0, 1))
def test_batches_keep_their_limits(sizes: list[int], tokens: int, pairs: int | None, padding: float | None) -> None:
    batches = plan_batches(sizes, BatchLimits(tokens, pairs, padding))
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))
    order = [sizes[i] for batch in batches for i in batch]
    assert order == sorted(order, reverse=True)
    for batch in batches:
        in_batch = [sizes[i] for i in batch]
        padded = max(in_batch) * len(in_batch)
        if len(batch) > 1:
            assert (sum(in_batch) if padding is None else padded) <= tokens
        if pairs is not None:
            assert len(batch) <= pairs
        if padding is not None:
            assert padded - sum(in_batch) <= padding * padded


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40))
def test_packed_batches_are_filled(sizes: list[int]) -> None:
    """No two neighbouring batches would fit into one."""
    batches = plan_batches(sizes, BatchLimits(100))
    for first, second in pairwise(batches):
        assert sum(sizes[i] for i in first) + sizes[second[0]] > 100


def test_equal_lengths_keep_their_order() -> None:
    assert plan_batches([4, 4, 4], BatchLimits(100)) == [[0, 1, 2]]


def test_longer_than_the_budget_stands_alone() -> None:
    assert plan_batches([5, 900, 5], BatchLimits(10)) == [[1], [0, 2]]


def test_limits_must_be_positive() -> None:
    with pytest.raises(InvalidRequestError, match="at least one token and one pair"):
        plan_batches([1], BatchLimits(0))


@given(lengths, st.integers(1, 2000), st.none() | st.integers(1, 20), st.integers(2, 5))
def test_workers_get_equal_shares(sizes: list[int], tokens: int, pairs: int | None, workers: int) -> None:
    batches = plan_batches(sizes, BatchLimits(tokens, pairs, workers=workers))
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or sum(sizes[i] for i in batch) <= tokens
        assert pairs is None or len(batch) <= pairs
    assert len(batches) % workers == 0 or len(batches) == len(sizes)
    if batches and len(batches) < len(sizes):
        totals = [sum(sizes[i] for i in batch) for batch in batches]
        assert max(totals) - min(totals) <= max(sizes)
