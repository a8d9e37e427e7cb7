from __future__ import annotations

import pytest

from rerankd.errors import InvalidRequestError, PayloadTooLargeError
from rerankd.server.request_parsing import validated
from rerankd.server.schemas.base import check_count
from rerankd.server.schemas.rerank import RerankRequestBody
from rerankd.server.schemas.tei import TeiRequestBody
from rerankd.settings import load_settings
from rerankd.types import TruncationOverrides


def test_every_form_of_a_text() -> None:
    documents = ["plain", {"text": "t"}, {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    body = validated(RerankRequestBody, {"query": {"content": "q"}, "documents": documents})
    assert body.query == "q"
    assert [document.text for document in body.ranking_documents(load_settings())] == ["plain", "t", "a\nb"]


def test_a_document_that_is_not_a_text_is_named() -> None:
    body = validated(RerankRequestBody, {"query": "q", "documents": ["d", 7]})
    with pytest.raises(InvalidRequestError, match=r"^documents\.1 is not a text"):
        body.ranking_documents(load_settings())


def test_rank_fields_are_read_in_their_order() -> None:
    body = validated(
        RerankRequestBody,
        {"query": "q", "documents": [{"title": "T", "text": "X", "n": 3}], "rank_fields": ["title", "n", "missing"]},
    )
    assert [document.text for document in body.ranking_documents(load_settings())] == ["title: T\nn: 3"]


def overrides(**fields: object) -> TruncationOverrides:
    return validated(RerankRequestBody, {"query": "q", "documents": ["d"], **fields}).truncation_overrides()


def test_dialects_of_truncation_become_the_same_overrides() -> None:
    assert overrides(max_tokens_per_doc=100, max_tokens_per_query=20).max_document_tokens == 100
    assert overrides(max_chunks_per_doc=10, overlap_tokens=5).long_documents == "chunk"
    assert overrides(max_chunks_per_doc=1).long_documents is None
    assert overrides(truncation=False).allow_truncation is False
    assert overrides(truncation="longest_first").truncation == "longest_first"
    assert overrides(truncate_prompt_tokens=-1).max_length is None
    assert overrides(truncate_prompt_tokens=-1, max_length=64).max_length == 64
    tei = validated(TeiRequestBody, {"query": "q", "texts": [], "truncation_direction": "Left", "truncate": False})
    assert tei.truncation_overrides() == TruncationOverrides(truncation_side="left", allow_truncation=False)


def test_a_value_that_is_changed_gives_a_warning() -> None:
    body = validated(RerankRequestBody, {"query": "q", "documents": ["d"], "truncate_prompt_tokens": 3})
    assert body.truncation_overrides().max_length == 8
    assert body.warnings == ["truncate_prompt_tokens was raised to 8"]
    assert validated(RerankRequestBody, {"query": "q", "documents": ["d"], "truncate_prompt_tokens": 9}).warnings == []


@pytest.mark.parametrize(("top_n", "limit"), [(None, None), (0, None), (-1, None), (3, 3)])
def test_top_n(top_n: int | None, limit: int | None) -> None:
    assert validated(RerankRequestBody, {"query": "q", "documents": ["d"], "top_n": top_n}).limit == limit


def test_too_many_documents() -> None:
    check_count(10_000, "documents", load_settings())
    with pytest.raises(PayloadTooLargeError, match="10001 texts; 10000 are allowed"):
        check_count(10_001, "documents", load_settings())
