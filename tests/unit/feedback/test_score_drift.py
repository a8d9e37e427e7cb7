"""Drift of the scores of buckets against the drift of the same scores one by one."""

from __future__ import annotations

import numpy as np
import pytest

from rerankd.feedback.score_drift import drift, drift_series
from rerankd.feedback.sketch import EMPTY, Sketch, SketchSeries

DRAW = np.random.default_rng(5)
PARTS = [Sketch.of(DRAW.normal(position / 4, 2, 40 * position)) for position in range(7)]
SERIES = SketchSeries.of(range(len(PARTS)), PARTS, len(PARTS))


@pytest.mark.parametrize("reference", [Sketch.of(DRAW.normal(0, 2, 500)), Sketch.of(np.full(300, 1.0)), EMPTY])
def test_the_series_is_the_drift_of_each_bucket(reference: Sketch) -> None:
    expected = [drift(reference, part, 100) for part in PARTS]
    np.testing.assert_allclose(drift_series(reference, SERIES, 100), np.array(expected, float), rtol=1e-12)


def test_buckets_before_count_where_they_are_taken_together() -> None:
    reference = Sketch.of(DRAW.normal(0, 2, 500))
    both = Sketch(SERIES.bins, SERIES.counts[4:6].sum(axis=0))
    assert drift_series(reference, SERIES, 100, trailing=2)[5] == pytest.approx(drift(reference, both, 100))
