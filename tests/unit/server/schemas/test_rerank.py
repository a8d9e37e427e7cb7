from __future__ import annotations

import pytest

from rerankd.errors import InvalidRequestError, PayloadTooLargeError
from rerankd.server.ranking_request import to_rerank_request
from rerankd.server.request_parsing import validated
from rerankd.server.schemas.base import check_count
from rerankd.server.schemas.rerank import RerankRequestBody
from rerankd.server.schemas.score import ScoreRequestBody
from rerankd.server.schemas.search import SearchRequestBody
from rerankd.server.schemas.tei import PredictRequestBody, TeiRequestBody
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
    assert body.warnings == ["truncate_prompt_tokens is below 8 and was raised"]
    assert validated(RerankRequestBody, {"query": "q", "documents": ["d"], "truncate_prompt_tokens": 9}).warnings == []


@pytest.mark.parametrize(("top_n", "limit"), [(None, None), (0, None), (-1, None), (3, 3)])
def test_top_n(top_n: int | None, limit: int | None) -> None:
    assert validated(RerankRequestBody, {"query": "q", "documents": ["d"], "top_n": top_n}).limit == limit


def test_too_many_documents() -> None:
    check_count(10_000, "documents", load_settings())
    with pytest.raises(PayloadTooLargeError, match="10001 texts; 10000 are allowed"):
        check_count(10_001, "documents", load_settings())


@pytest.mark.parametrize("document", ["d", {"text": "d"}, {"content": [{"type": "text", "text": "d"}]}, ""])
def test_one_document_needs_no_list(document: object) -> None:
    body = validated(RerankRequestBody, {"query": "q", "documents": document})
    assert len(body.ranking_documents(load_settings())) == 1
    assert body.ranking_documents(load_settings())[0].text in ("d", "")


@pytest.mark.parametrize(
    ("item", "rank_fields", "returned"),
    [
        ({"text": "X", "title": "T"}, ["title", "text"], {"text": "X", "title": "T"}),
        ({"text": "X", "title": "T", "n": [1]}, None, {"text": "X", "title": "T", "n": [1]}),
        ({"title": "T", "body": "B"}, ["body"], {"title": "T", "body": "B"}),
        ("plain", ["title"], {"text": "plain"}),
        ("plain", None, {"text": "plain"}),
        ({"content": [{"type": "text", "text": "a"}]}, None, {"text": "a"}),
        ({"text": "", "content": "ignored"}, None, {"text": "", "content": "ignored"}),
    ],
)
def test_objects_are_returned_as_they_were_sent(item: object, rank_fields: list[str] | None, returned: object) -> None:
    body = validated(RerankRequestBody, {"query": "q", "documents": [item], "rank_fields": rank_fields})
    body.ranking_documents(load_settings())
    assert body.returned_document(0) == returned


@pytest.mark.parametrize("tokens", [0, -1, -5])
def test_a_document_has_room_for_a_token_at_least(tokens: int) -> None:
    with pytest.raises(InvalidRequestError, match="^max_tokens_per_doc: Input should be greater than or equal to 1"):
        overrides(max_tokens_per_doc=tokens)
    assert overrides(max_tokens_per_doc=None).max_document_tokens is None


def test_score_threshold_is_another_name_of_threshold() -> None:
    settings = load_settings()
    body = {"query": "q", "documents": ["d"], "score_threshold": 0.5}
    assert to_rerank_request(validated(RerankRequestBody, body), settings).threshold == 0.5
    assert to_rerank_request(validated(RerankRequestBody, body | {"threshold": 0.2}), settings).threshold == 0.2
    assert validated(RerankRequestBody, body).warnings == []
    search = validated(SearchRequestBody, {"query": "q", "score_threshold": 0.5})
    assert search.lowest_passage_score == 0.5
    with pytest.raises(InvalidRequestError, match="^score_threshold: "):
        validated(RerankRequestBody, body | {"score_threshold": 7})


@pytest.mark.parametrize(
    ("model", "content", "ignored"),
    [
        (TeiRequestBody, {"query": "q", "texts": ["d"], "score_threshold": 0.5}, ["score_threshold"]),
        (TeiRequestBody, {"query": "q", "texts": ["d"], "rank_fields": ["a"], "top_k": 1}, ["rank_fields", "top_k"]),
        (ScoreRequestBody, {"text_1": "q", "text_2": "d", "top_n": 1, "threshold": 0.1}, ["top_n", "threshold"]),
        (PredictRequestBody, {"inputs": ["q", "d"], "min_score": 0.1}, ["min_score"]),
        (RerankRequestBody, {"query": "q", "documents": ["d"], "similarity_threshold": 0.1}, ["similarity_threshold"]),
        (RerankRequestBody, {"query": "q", "documents": ["d"], "instruction": "Rank."}, []),
        (RerankRequestBody, {"query": "q", "documents": ["d"], "instruction": "", "user": "", "kwargs": "{}"}, []),
    ],
)
def test_a_field_that_would_change_the_results_is_not_ignored_in_silence(
    model: type[RerankRequestBody], content: dict[str, object], ignored: list[str]
) -> None:
    assert validated(model, content).warnings == [f"{name} is not supported here and was ignored" for name in ignored]


@pytest.mark.parametrize("value", ["left", 2, [], {}, "ONLY_SECOND"])
def test_a_truncation_that_is_none_is_named_with_what_there_is(value: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"^truncation: Input should be true, false, 'only_second' or 'long"):
        validated(RerankRequestBody, {"query": "q", "documents": ["d"], "truncation": value})
