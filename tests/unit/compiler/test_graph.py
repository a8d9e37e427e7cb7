from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankd.compiler.graph import four_bit_blocks
from rerankd.models.compiled_weights import BLOCK


def opened(packed: np.ndarray, scales: np.ndarray) -> np.ndarray:
    rows = len(packed)
    blocks = packed.reshape(rows, -1, BLOCK // 2)
    numbers = np.concatenate([blocks & 15, blocks >> 4], axis=-1).astype(np.float32) - 8
    return (numbers * scales.astype(np.float32)[..., None]).reshape(rows, -1)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1.0, 30.0]))
def test_blocks_are_near_and_stay_as_they_are(seed: int, size: float) -> None:
    table = np.random.default_rng(seed).standard_normal((7, 2 * BLOCK)).astype(np.float32) * size
    packed, scales = four_bit_blocks(table)
    once = opened(packed, scales)
    step = np.abs(table).reshape(-1, BLOCK).max(axis=1) / 7
    # Half a step for each number at most, as with a seventh of the widest for a scale; scales are rounded too.
    error = np.square(once - table).reshape(-1, BLOCK).mean(axis=1)
    assert (error <= (0.51 * step) ** 2 + 1e-12).all()
    np.testing.assert_array_equal(opened(*four_bit_blocks(once)), once)


def test_nothing_is_nothing() -> None:
    packed, scales = four_bit_blocks(np.zeros((3, BLOCK), np.float32))
    assert opened(packed, scales).tolist() == np.zeros((3, BLOCK)).tolist()
    assert packed.nbytes + scales.nbytes == pytest.approx(3 * (BLOCK / 2 + 2))
