from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import RerankdError
from rerankd.traces.packing import Candidates, pack, passages_of, unpack

FLOAT = st.floats(width=32, allow_nan=False)


@st.composite
def candidates(draw: st.DrawFn) -> Candidates:
    count = draw(st.integers(0, 70))

    def listed(each: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(each, min_size=count, max_size=count))

    def maybe(each: st.SearchStrategy[Any]) -> list[Any]:
        return listed(each) if draw(st.booleans()) else []

    return Candidates(
        np.array(listed(st.integers(1, draw(st.sampled_from([50, 2**32 - 1, 2**62])))), np.int64),
        np.array(listed(FLOAT), np.float32),
        np.array(listed(FLOAT), np.float32),
        np.array(draw(st.permutations(range(1, count + 1))), np.int64),
        np.array(maybe(st.floats(allow_nan=True)), np.float64),
        np.array(maybe(st.booleans()), np.bool_),
        np.array(maybe(st.integers(1, 1000)), np.int64),
        tuple(maybe(st.none() | st.text())),
        draw(
            st.dictionaries(st.integers(0, max(count - 1, 0)), st.lists(st.text(), max_size=3).map(tuple), max_size=3)
        ),
    )


@pytest.mark.slow
@given(candidates())
def test_what_is_packed_is_unpacked(given_: Candidates) -> None:
    unpacked = unpack(pack(given_))
    for name in ("passages", "raw_scores", "final_scores", "ranks", "scores_before"):
        np.testing.assert_array_equal(getattr(unpacked, name), getattr(given_, name))
    none, ones = np.zeros(len(given_), bool), np.ones(len(given_), int)
    truncated, chunks = given_.truncated, given_.chunks
    np.testing.assert_array_equal(
        unpacked.truncated if len(unpacked.truncated) else none, truncated if len(truncated) else none
    )
    np.testing.assert_array_equal(unpacked.chunks if len(unpacked.chunks) else ones, chunks if len(chunks) else ones)
    assert unpacked.ids == (given_.ids if any(name is not None for name in given_.ids) else ())
    assert unpacked.rules == given_.rules
    np.testing.assert_array_equal(passages_of(pack(given_)), given_.passages)


def test_fifty_plain_candidates_are_small() -> None:
    fifty = Candidates(
        np.arange(1, 51), np.ones(50, np.float32), np.ones(50, np.float32), np.arange(1, 51), chunks=np.ones(50, int)
    )
    assert len(pack(fifty)) == 6 + 50 * (4 + 4 + 4 + 2)


def test_more_than_a_short_counts() -> None:
    count = 70_000
    large = Candidates(
        np.arange(count), np.zeros(count, np.float32), np.zeros(count, np.float32), np.arange(1, count + 1)
    )
    assert unpack(pack(large)).ranks[-1] == count


def test_corrupt_bytes() -> None:
    one = np.ones(1, np.float32)
    packed = pack(Candidates(np.array([1]), one * math.pi, one, np.array([1])))
    for damaged in (b"", packed[:9], b"\x63" + packed[1:]):
        with pytest.raises(RerankdError, match="corrupt"):
            unpack(damaged)


def test_metadata_that_json_cannot_carry_are_kept_as_text() -> None:
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    given_ = Candidates(
        np.array([7]),
        np.array([1], np.float32),
        np.array([1], np.float32),
        np.array([1]),
        metadata=({"long": 10**30, "deep": deep, "a": 1},),
    )
    assert unpack(pack(given_)).metadata == ({"long": str(10**30), "deep": str(deep), "a": 1},)
