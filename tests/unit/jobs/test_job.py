from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from rerankd.jobs.job import (
    PART_DOCUMENTS,
    PART_REQUESTS,
    RankWork,
    ScoreWork,
    Work,
    decode_work,
    encode_work,
    split_work,
)
from rerankd.types import Activation, Document, RerankRequest, TruncationOverrides

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
POLICY = st.builds(
    TruncationOverrides,
    max_length=st.none() | st.integers(8, 8192),
    truncation=st.sampled_from([None, "only_second", "longest_first"]),
    long_documents=st.sampled_from([None, "truncate", "chunk"]),
    allow_truncation=st.booleans(),
)
MODEL = st.none() | TEXT
RANK = st.builds(
    RankWork,
    st.builds(
        RerankRequest,
        TEXT,
        st.lists(st.builds(Document, TEXT), max_size=5),
        st.none() | st.integers(1, 9),
        st.sampled_from(get_args(Activation)),
        MODEL,
        POLICY,
        cache=st.booleans(),
    ),
    st.booleans(),
)
SCORE = st.builds(
    ScoreWork, st.lists(st.tuples(TEXT, st.lists(TEXT, max_size=300)), max_size=3), MODEL, POLICY, st.booleans()
)
WORK = st.lists(st.one_of(RANK, SCORE), max_size=8)


@given(WORK)
def test_work_comes_back_as_it_was(work: list[Work]) -> None:
    assert decode_work(encode_work(work)) == work


@given(WORK, st.integers(1, 5))
def test_parts_hold_everything_in_order_and_are_bounded(work: list[Work], requests: int) -> None:
    parts = list(split_work(work, requests=requests))
    held = [decode_work(part.payload) for part in parts]
    assert [one for part in held for one in part] == work
    for part, own in zip(parts, held, strict=True):
        assert part.requests == len(own) <= requests
        assert len(own) == 1 or sum(one.size for one in own) <= PART_DOCUMENTS


def test_small_requests_share_a_part() -> None:
    assert [part.requests for part in split_work([ScoreWork([("q", ["d"])])] * (PART_REQUESTS + 1))] == [
        PART_REQUESTS,
        1,
    ]
