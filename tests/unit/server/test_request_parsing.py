from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidRequestError, PayloadTooLargeError
from rerankd.server.ranking_request import to_rerank_request
from rerankd.server.request_parsing import parse_json, validated
from rerankd.server.schemas.rerank import RerankRequestBody
from rerankd.server.schemas.score import ScoreRequestBody
from rerankd.server.schemas.tei import PredictRequestBody, TeiRequestBody
from rerankd.settings import load_settings

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
NAMES = sorted(
    {*RerankRequestBody.model_fields, *TeiRequestBody.model_fields, *ScoreRequestBody.model_fields, "inputs", "unknown"}
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"1",
        b"\xff",
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 40 + b"1" + b"}" * 40,
    ],
)
def test_what_is_no_flat_json_object_is_refused_with_a_sentence(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        parse_json(body, 32)


def test_nul_bytes_and_any_script_are_texts() -> None:
    assert parse_json('{"query": "\\u0000 熊猫 🐼"}'.encode(), 32) == {"query": "\0 熊猫 🐼"}


@pytest.mark.slow
def test_very_many_containers_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="more than 200000 values"):
        parse_json(b'{"a": [' + b"[]," * 200_000 + b"[]]}", 32)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=8))
def test_any_content_is_read_or_refused(content: dict[str, object]) -> None:
    for model in (RerankRequestBody, TeiRequestBody, ScoreRequestBody, PredictRequestBody):
        with contextlib.suppress(InvalidRequestError, PayloadTooLargeError):
            body = validated(model, content)
            to_rerank_request(body, load_settings())
            if isinstance(body, ScoreRequestBody | PredictRequestBody):
                body.pairs()


def test_the_first_fault_is_named_with_its_place() -> None:
    with pytest.raises(InvalidRequestError, match=r"^top_n: Input should be a valid integer"):
        validated(RerankRequestBody, {"query": "q", "documents": ["d"], "top_n": "many"})
