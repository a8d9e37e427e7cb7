from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidRequestError
from rerankd.experiments.assignment import Variant, assign, bucket_of, fnv1a32

ARMS = [Variant("champion", 0.5), Variant("challenger", 0.3), Variant("third", 0.2)]
UNITS = [f"user-{i}" for i in range(20_000)]


@given(st.text(), st.text(max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_raising_the_coverage_never_moves_a_unit(unit: str, seed: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    before, after = assign(ARMS, low, seed, unit), assign(ARMS, high, seed, unit)
    assert before is None or before == after


def test_shares_are_as_they_should_be() -> None:
    found = [assign(ARMS, 0.4, "seed", unit) for unit in UNITS]
    for arm in ARMS:
        assert found.count(arm.name) / len(UNITS) == pytest.approx(arm.weight * 0.4, abs=0.01)
    assert found.count(None) / len(UNITS) == pytest.approx(0.6, abs=0.015)


def test_experiments_do_not_go_together() -> None:
    both = [(bucket_of("one", unit) < 0.5, bucket_of("two", unit) < 0.5) for unit in UNITS]
    assert sum(a and b for a, b in both) / len(UNITS) == pytest.approx(0.25, abs=0.015)


def test_every_process_says_the_same() -> None:
    program = (
        "from rerankd.experiments.assignment import bucket_of; print([bucket_of('s', f'用户{i}') for i in range(50)])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str([bucket_of("s", f"用户{i}") for i in range(50)])


def test_lone_surrogates_have_a_place() -> None:
    assert 0 <= fnv1a32("\ud800") < 2**32


@pytest.mark.parametrize(
    ("arms", "coverage"), [(ARMS, 1.1), ([Variant("a", 0.7), Variant("b", 0.7)], 1.0), ([Variant("a", -1)], 1)]
)
def test_shares_that_cannot_be(arms: list[Variant], coverage: float) -> None:
    with pytest.raises(InvalidRequestError):
        assign(arms, coverage, "s", "u")
