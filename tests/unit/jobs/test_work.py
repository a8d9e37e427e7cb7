from __future__ import annotations

from typing import get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rerankd.jobs.work import (
    PART_DOCUMENTS,
    PART_REQUESTS,
    RankWork,
    ScoreWork,
    Work,
    decode_work,
    encode_work,
    split_work,
)
from rerankd.types import Activation, Document, Fusion, RerankRequest, TruncationOverrides

pytestmark = pytest.mark.slow

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TRUNCATION = st.builds(
    TruncationOverrides,
    max_length=st.none() | st.integers(8, 8192),
    truncation=st.sampled_from([None, "only_second", "longest_first"]),
    long_documents=st.sampled_from([None, "truncate", "chunk"]),
    allow_truncation=st.booleans(),
)
MODEL = st.none() | TEXT
METADATA = st.dictionaries(TEXT, st.none() | st.integers(-9, 9) | st.floats(-1, 1) | TEXT, max_size=2)
RANK = st.builds(
    RankWork,
    st.builds(
        RerankRequest,
        TEXT.filter(str.strip),
        st.lists(st.builds(Document, TEXT, st.none() | TEXT, METADATA), max_size=5),
        st.none() | st.integers(1, 9),
        st.sampled_from(get_args(Activation)),
        MODEL,
        TRUNCATION,
        cache=st.booleans(),
        threshold=st.none() | st.floats(0, 1),
        fusion=st.none() | st.builds(Fusion, st.sampled_from(["weighted", "rrf"]), st.floats(0, 1)),
        priority=st.none() | st.integers(0, 999),
        best_priority=st.integers(0, 999),
    ),
    st.booleans(),
)
SCORE = st.builds(
    ScoreWork, st.lists(st.tuples(TEXT, st.lists(TEXT, max_size=300)), max_size=3), MODEL, TRUNCATION, st.booleans()
)
WORK = st.lists(st.one_of(RANK, SCORE), max_size=8)


@pytest.mark.slow
@given(WORK)
def test_work_comes_back_as_it_was(work: list[Work]) -> None:
    assert decode_work(encode_work(work)) == work


@pytest.mark.slow
@given(WORK)
def test_the_stored_form_is_compact_json(work: list[Work]) -> None:
    payload = encode_work(work)  # its hash is the fingerprint of an idempotency key, so the bytes must not change
    assert orjson.dumps(orjson.loads(payload)) == payload


STORED = (  # as the first version wrote it
    '[{"query":"q é","documents":["a",{"text":"b","id":"2","metadata":{"score":0.5,"k":null}}],"top_n":3,'
    '"activation":"sigmoid","model":null,"policy":{"max_length":64,"allow_truncation":false},"cache":true,'
    '"threshold":0.25,"fusion":["rrf",0.5],"texts":true},'
    '{"groups":[["q",["a","b"]]],"model":"mini","policy":{},"cache":false}]'
).encode()
WRITTEN: list[Work] = [
    RankWork(
        RerankRequest(
            "q é",
            [Document("a"), Document("b", "2", {"score": 0.5, "k": None})],
            3,
            truncation=TruncationOverrides(max_length=64, allow_truncation=False),
            threshold=0.25,
            fusion=Fusion("rrf", 0.5),
        ),
        True,
    ),
    ScoreWork([("q", ["a", "b"])], "mini", cache=False),
]


def test_stored_work_keeps_its_bytes() -> None:
    assert encode_work(WRITTEN) == STORED
    assert decode_work(STORED) == WRITTEN


def test_strict_work_stays_strict() -> None:
    work: list[Work] = [RankWork(RerankRequest("q", [Document("a")], strict=True))]
    assert decode_work(encode_work(work)) == work


def test_work_from_before_thresholds_fusion_and_metadata_is_read() -> None:
    stored = (
        b'[{"query":"q","documents":[{"text":"a","score":0.5}],"top_n":null,"activation":"none","model":null,'
        b'"policy":{},"cache":true,"texts":false}]'
    )
    request = RerankRequest("q", [Document("a", metadata={"score": 0.5})], activation="none")
    assert decode_work(stored) == [RankWork(request)]


@pytest.mark.parametrize("payload", [b"", b"[{}]", b'[{"query":"the secret text"}]', b'[{"groups":[],"other":1}]'])
def test_other_bytes_are_an_error_that_repeats_no_text(payload: bytes) -> None:
    with pytest.raises(ValidationError) as error:
        decode_work(payload)
    assert "secret" not in str(error.value)


@pytest.mark.slow
@given(WORK, st.integers(1, 5))
def test_parts_hold_everything_in_order_and_are_bounded(work: list[Work], requests: int) -> None:
    parts = list(split_work(work, requests=requests))
    decoded = [decode_work(part.payload) for part in parts]
    assert [request for part in decoded for request in part] == work
    for part, in_part in zip(parts, decoded, strict=True):
        assert part.requests == len(in_part) <= requests
        assert len(in_part) == 1 or sum(request.size for request in in_part) <= PART_DOCUMENTS


def test_small_requests_share_a_part() -> None:
    work = [ScoreWork([("q", ["d"])])] * (PART_REQUESTS + 1)
    assert [part.requests for part in split_work(work)] == [PART_REQUESTS, 1]


def test_documents_that_are_returned_as_they_were_sent_travel_with_the_work() -> None:
    request, returned = RerankRequest("q", [Document("title: T")]), [{"title": "T", "year": 1999}]
    [work] = decode_work(encode_work([RankWork(request, texts=True, returned=returned)]))
    assert isinstance(work, RankWork)
    assert work.returned_document(0) == {"title": "T", "year": 1999}
    assert b"returned" not in encode_work([RankWork(request, texts=True)])
    assert RankWork(request, texts=True).returned_document(0) == {"text": "title: T"}
