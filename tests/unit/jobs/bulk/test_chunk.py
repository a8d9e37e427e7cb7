from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import ScoringError
from rerankd.jobs.bulk.chunk import Chunk, ChunkResult, RowError

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
GROUPS = st.lists(st.tuples(TEXT, st.lists(TEXT, max_size=3).map(tuple)), max_size=4).map(tuple)
OUTCOME = st.one_of(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3).map(tuple), st.builds(RowError, TEXT, TEXT)
)


@given(st.integers(0, 2**40), GROUPS)
def test_a_chunk_comes_back_from_its_bytes(number: int, groups: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
    assert Chunk.from_bytes(Chunk(number, groups).to_bytes()) == Chunk(number, groups)


@given(st.lists(OUTCOME, max_size=4).map(tuple))
def test_a_result_comes_back_from_its_bytes(outcomes: tuple[tuple[float, ...] | RowError, ...]) -> None:
    result = ChunkResult(3, outcomes, tokens=7, truncated=1)
    back = ChunkResult.from_bytes(result.to_bytes())
    assert back == result
    for one, other in zip(back.outcomes, outcomes, strict=True):
        if not isinstance(one, RowError) and not isinstance(other, RowError):
            assert [math.copysign(1, value) for value in one] == [math.copysign(1, value) for value in other]


def test_what_was_not_foreseen_is_not_told() -> None:
    assert "secret" not in RowError.of(RuntimeError("secret")).message
    assert RowError.of(ScoringError("No.", hint="Look.")) == RowError("scoring_failed", "No. Look.")


def test_a_chunk_failed_if_nothing_of_it_was_scored() -> None:
    error = RowError("a", "b")
    assert ChunkResult(0, (error, error)).failed
    assert not ChunkResult(0, (error, (1.0,))).failed
    assert not ChunkResult(0, ()).failed
