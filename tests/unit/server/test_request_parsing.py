from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from rerankd.errors import InvalidRequestError, PayloadTooLargeError
from rerankd.server.request_parsing import check_count, parse_json, timeout_of, validated
from rerankd.server.schemas.rerank import PredictRequestBody, RerankRequestBody, ScoreRequestBody, TeiRequestBody
from rerankd.settings import load_settings
from rerankd.types import TruncationOverrides

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


def test_very_many_containers_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="more than 200000 values"):
        parse_json(b'{"a": [' + b"[]," * 200_000 + b"[]]}", 32)


@given(st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=8))
def test_any_content_is_read_or_refused(content: dict[str, object]) -> None:
    for model in (RerankRequestBody, TeiRequestBody, ScoreRequestBody, PredictRequestBody):
        with contextlib.suppress(InvalidRequestError):
            given_body = validated(model, content)
            if isinstance(given_body, RerankRequestBody):
                given_body.read_documents()
                given_body.truncation_overrides([])
            elif isinstance(given_body, ScoreRequestBody):
                given_body.pairs()


def test_the_first_fault_is_named_with_its_place() -> None:
    with pytest.raises(InvalidRequestError, match=r"^top_n: Input should be a valid integer"):
        validated(RerankRequestBody, {"query": "q", "documents": ["d"], "top_n": "many"})
    with pytest.raises(InvalidRequestError, match=r"^documents\.1 is not a text"):
        validated(RerankRequestBody, {"query": "q", "documents": ["d", 7]}).read_documents()


def test_every_form_of_a_text() -> None:
    documents = ["plain", {"text": "t"}, {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    body = validated(RerankRequestBody, {"query": {"content": "q"}, "documents": documents})
    assert body.query == "q"
    assert [document.text for document in body.read_documents()] == ["plain", "t", "a\nb"]


def test_rank_fields_are_read_in_their_order() -> None:
    body = validated(
        RerankRequestBody,
        {"query": "q", "documents": [{"title": "T", "text": "X", "n": 3}], "rank_fields": ["title", "n", "missing"]},
    )
    assert [document.text for document in body.read_documents()] == ["title: T\nn: 3"]


def overrides(**fields: object) -> TruncationOverrides:
    return validated(RerankRequestBody, {"query": "q", "documents": ["d"], **fields}).truncation_overrides([])


def test_dialects_of_cutting_become_one_policy() -> None:
    assert overrides(max_tokens_per_doc=100, max_tokens_per_query=20).max_document_tokens == 100
    assert overrides(max_chunks_per_doc=10, overlap_tokens=5).long_documents == "chunk"
    assert overrides(max_chunks_per_doc=1).long_documents is None
    assert overrides(truncation=False).allow_truncation is False
    assert overrides(truncation="longest_first").truncation == "longest_first"
    assert overrides(truncate_prompt_tokens=-1).max_length is None
    tei = validated(TeiRequestBody, {"query": "q", "texts": [], "truncation_direction": "Left", "truncate": False})
    assert tei.truncation_overrides() == TruncationOverrides(truncation_side="left", allow_truncation=False)


def test_what_cannot_be_followed_is_said() -> None:
    warnings: list[str] = []
    body = validated(RerankRequestBody, {"query": "q", "documents": ["d"], "truncate_prompt_tokens": 3})
    assert body.truncation_overrides(warnings).max_length == 8
    assert warnings == ["truncate_prompt_tokens was raised to 8"]


@pytest.mark.parametrize(("top_n", "kept"), [(None, None), (0, None), (-1, None), (3, 3)])
def test_top_n(top_n: int | None, kept: int | None) -> None:
    assert validated(RerankRequestBody, {"query": "q", "documents": ["d"], "top_n": top_n}).kept == kept


def pairs(**fields: object) -> list[tuple[str, str]]:
    return validated(ScoreRequestBody, fields).pairs()


def test_pairs_of_score() -> None:
    assert pairs(text_1="q", text_2=["a", "b"]) == [("q", "a"), ("q", "b")]
    assert pairs(queries=["p", "q"], items=["a", "b"]) == [("p", "a"), ("q", "b")]
    with pytest.raises(InvalidRequestError, match="2 queries and 3 documents"):
        pairs(text_1=["p", "q"], text_2=["a", "b", "c"])
    with pytest.raises(InvalidRequestError, match="Both sides"):
        pairs(text_1=["p"])


def request(header: str | None) -> Request:
    headers = [] if header is None else [(b"x-request-timeout", header.encode())]
    return Request({"type": "http", "headers": headers})


def test_the_shortest_time_counts() -> None:
    settings = load_settings(request_timeout=30)
    assert timeout_of(request(None), None, load_settings()) is None
    assert timeout_of(request("5"), 7.0, settings) == 5
    assert timeout_of(request("50"), None, settings) == 30
    for header in ("soon", "-1", "0", "nan", "inf"):
        with pytest.raises(InvalidRequestError, match="X-Request-Timeout"):
            timeout_of(request(header), None, settings)


def test_too_many_documents() -> None:
    check_count(10_000, "documents", load_settings())
    with pytest.raises(PayloadTooLargeError, match="10001 texts; 10000 are allowed"):
        check_count(10_001, "documents", load_settings())
