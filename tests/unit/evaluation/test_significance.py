from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from rerankd.evaluation.significance import holm, permutation_test

pytestmark = pytest.mark.slow


def theirs(differences: npt.NDArray[np.float64], resamples: int = 9_999) -> float:
    def mean_difference(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
        return np.asarray((a - b).mean(axis=axis))

    result = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        mean_difference,
        permutation_type="samples",
        n_resamples=resamples,
        vectorized=True,
        rng=4,
    )
    return float(result.pvalue)


@pytest.mark.parametrize("seed", range(8))
def test_exact_values_are_those_of_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    smooth = generator.normal(0.3, 1, 10)
    coarse = generator.choice([-0.5, 0.0, 0.0, 0.369, 0.5, 1.0], 12)  # nDCG's differences repeat and cancel
    assert permutation_test(smooth) == pytest.approx(theirs(smooth), abs=1e-12)
    assert permutation_test(coarse) == pytest.approx(theirs(coarse), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.005, 0.01, 0.05])
def test_drawn_values_agree_with_scipy(shift: float) -> None:
    differences = np.random.default_rng(7).normal(shift, 0.1, 500)
    ours, other = permutation_test(differences), theirs(differences)
    # Two independent estimates from 10,000 draws each: four standard errors.
    assert ours == pytest.approx(other, abs=4 * np.sqrt(2 * max(other, 1e-4) / 10_000))


def test_nothing_differs() -> None:
    assert permutation_test(np.zeros(100)) == 1.0
    assert permutation_test(np.array([])) == 1.0
    assert permutation_test(np.array([1.0] + [0.0] * 500)) == 1.0


def test_the_smallest_value_is_never_zero() -> None:
    assert permutation_test(np.full(1000, 0.1)) == pytest.approx(1 / 10_001)


def test_blocks_change_nothing() -> None:
    differences = np.random.default_rng(1).normal(0.002, 0.1, 5000)
    assert permutation_test(differences) == permutation_test(differences)
    assert permutation_test(differences) == pytest.approx(permutation_test(-differences), abs=0.02)


def test_false_alarms_stay_under_alpha() -> None:
    generator = np.random.default_rng(11)
    alarms = sum(permutation_test(generator.normal(0, 0.1, 200), samples=1000, seed=n) < 0.05 for n in range(1000))
    assert alarms <= 70  # 50 expected, 7 standard deviation


def test_holm() -> None:
    assert holm([]) == ()
    assert holm([0.04]) == (0.04,)
    assert holm([0.6, 0.6, 0.01]) == pytest.approx((1.0, 1.0, 0.03))
    values = np.random.default_rng(1).random(20)
    adjusted = holm(values.tolist())
    assert all(after >= before for before, after in zip(values, adjusted, strict=True))
    assert np.argsort(values)[0] == np.argsort(adjusted)[0]
