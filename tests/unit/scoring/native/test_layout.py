from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.scoring.native.layout import LINE, aligned, bfloat16, panels, quantized


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=50))
def test_bfloat16_is_the_nearest(values: list[float]) -> None:
    numbers = np.array(values, np.float32)
    bits = bfloat16(numbers)
    rounded = (bits.astype(np.uint32) << 16).view(np.float32)
    for step in (-1, 1):
        neighbours = ((bits.astype(np.int64) + step).astype(np.uint32) << 16).view(np.float32)
        usable = np.isfinite(neighbours)
        nearer = np.abs(rounded.astype(np.float64) - numbers) <= np.abs(neighbours.astype(np.float64) - numbers)
        assert nearer[usable].all()


def test_bfloat16_ties_go_to_even() -> None:
    ties = np.array([0x3F808000, 0x3F818000], np.uint32).view(np.float32)
    assert [hex(bits) for bits in bfloat16(ties)] == ["0x3f80", "0x3f82"]


def test_quantized_rows_have_their_own_scale() -> None:
    matrix = np.array([[1.0, -2.0], [0.001, 0.0], [0.0, 0.0]], np.float32)
    numbers, scale = quantized(matrix)
    assert numbers.tolist() == [[64, -127], [127, 0], [0, 0]]
    np.testing.assert_allclose(numbers * scale[:, None], matrix, atol=0.008)


def test_aligned_arrays_begin_on_a_line() -> None:
    for start in range(3):
        array = np.arange(40, dtype=np.uint16)[start:].reshape(-1, 1)
        moved = aligned(array)
        assert moved.ctypes.data % LINE == 0
        assert moved.tolist() == array.tolist()
        assert aligned(moved) is moved
    assert aligned(np.arange(6).reshape(2, 3).T).tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("kind", [np.int8, np.uint16])
def test_panels_hold_groups_of_four_bytes(kind: type) -> None:
    inputs = 128 // np.dtype(kind).itemsize
    matrix: npt.NDArray[Any] = np.arange(64 * inputs).astype(kind).reshape(64, inputs)
    tiles = panels(matrix)
    assert tiles.shape == (2, 2, 2, 16, 16)
    groups = matrix.view(np.uint32)
    for output, group in ((0, 0), (5, 3), (17, 20), (63, 31), (40, 16)):
        panel, half, column = output // 32, output % 32 // 16, output % 16
        assert tiles[panel, group // 16, half, group % 16, column] == groups[output, group]
