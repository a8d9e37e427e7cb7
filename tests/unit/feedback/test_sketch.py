"""Sketches against the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.feedback.sketch import (
    EMPTY,
    RELATIVE_ERROR,
    SMALLEST,
    Sketch,
    SketchSeries,
    bins_of,
    merge,
    pack_sketches,
    unpack_sketches,
    values_of,
)

VALUES = st.lists(st.floats(-1e6, 1e6), max_size=60)


@given(VALUES)
def test_no_value_is_further_from_its_bin_than_the_error(values: list[float]) -> None:
    array = np.array(values, float)
    distance = np.abs(values_of(bins_of(array)) - array)
    assert (distance <= np.maximum(RELATIVE_ERROR * np.abs(array) * 1.000001, SMALLEST)).all()


@given(VALUES.filter(bool), st.floats(0, 1))
def test_a_quantile_is_that_of_the_values(values: list[float], share: float) -> None:
    sketch = Sketch.of(np.array(values))
    measured = SketchSeries.of([0], [sketch], 1).quantile(share)[0]
    low, high = (float(np.quantile(values, share, method=side)) for side in ("lower", "higher"))
    allowed = RELATIVE_ERROR * max(abs(low), abs(high)) * 1.00001 + SMALLEST
    assert measured == pytest.approx(float(np.quantile(values, share)), abs=allowed)


@given(st.lists(VALUES, max_size=5))
def test_parts_add_up_to_the_whole(parts: list[list[float]]) -> None:
    merged = merge([Sketch.of(np.array(part, float)) for part in parts])
    whole = Sketch.of(np.array([value for part in parts for value in part], float))
    assert merged.bins.tolist() == whole.bins.tolist()
    assert merged.counts.tolist() == whole.counts.tolist()
    series = SketchSeries.of(range(len(parts)), [Sketch.of(np.array(part, float)) for part in parts], len(parts))
    assert series.sizes.tolist() == [len(part) for part in parts]
    assert series.total().counts.sum() == len(whole)


@given(st.lists(VALUES, max_size=4))
def test_packed_sketches_come_back(parts: list[list[float]]) -> None:
    sketches = [Sketch.of(np.array(part, float)) for part in parts]
    back = unpack_sketches(pack_sketches(sketches))
    assert [each.bins.tolist() for each in back] == [each.bins.tolist() for each in sketches]
    assert [each.counts.tolist() for each in back] == [each.counts.tolist() for each in sketches]


def test_an_empty_bucket_has_no_quantile() -> None:
    series = SketchSeries.of([1, 1], [Sketch.of(np.array([2.0])), EMPTY], 3)
    assert np.isnan(series.quantile(0.5)).tolist() == [True, False, True]
    assert np.isnan(SketchSeries.of([], [], 2).quantile(0.5)).all()


def test_values_that_are_no_numbers_do_not_end_it() -> None:
    assert len(Sketch.of(np.array([np.inf, -np.inf, 1e300]))) == 3
