from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidRequestError
from rerankd.experiments.assignment import Variant, assign, bucket_of

VARIANTS = [Variant("champion", 0.5), Variant("challenger", 0.3), Variant("third", 0.2)]
UNITS = [f"user-{i}" for i in range(20_000)]


@given(st.text(), st.text(max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_raising_the_coverage_never_moves_a_unit(unit: str, seed: str, first: float, second: float) -> None:
    low, high = sorted((first, second))
    before, after = assign(VARIANTS, low, seed, unit), assign(VARIANTS, high, seed, unit)
    assert before is None or before == after


def test_shares_are_as_they_should_be() -> None:
    names = [assign(VARIANTS, 0.4, "seed", unit) for unit in UNITS]
    for variant in VARIANTS:
        assert names.count(variant.name) / len(UNITS) == pytest.approx(variant.weight * 0.4, abs=0.01)
    assert names.count(None) / len(UNITS) == pytest.approx(0.6, abs=0.015)


def test_buckets_of_two_experiments_are_independent() -> None:
    both = [(bucket_of("one", unit) < 0.5, bucket_of("two", unit) < 0.5) for unit in UNITS]
    assert sum(a and b for a, b in both) / len(UNITS) == pytest.approx(0.25, abs=0.015)


def test_every_process_assigns_the_same_bucket() -> None:
    program = (
        "from rerankd.experiments.assignment import bucket_of; print([bucket_of('s', f'用户{i}') for i in range(50)])"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.strip() == str([bucket_of("s", f"用户{i}") for i in range(50)])


def test_buckets_are_uniform() -> None:
    counts = Counter(int(bucket_of("seed", unit) * 20) for unit in UNITS)
    expected = len(UNITS) / 20
    chi_squared = sum((counts[index] - expected) ** 2 / expected for index in range(20))
    assert chi_squared < 43.8  # 99.9th percentile of chi-squared with 19 degrees of freedom


def test_lone_surrogates_have_a_bucket() -> None:
    assert 0 <= bucket_of("s", "\ud800") < 1


@pytest.mark.parametrize(
    ("variants", "coverage"), [(VARIANTS, 1.1), ([Variant("a", 0.7), Variant("b", 0.7)], 1.0), ([Variant("a", -1)], 1)]
)
def test_shares_that_cannot_be(variants: list[Variant], coverage: float) -> None:
    with pytest.raises(InvalidRequestError):
        assign(variants, coverage, "s", "u")
