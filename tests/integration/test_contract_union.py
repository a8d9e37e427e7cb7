"""The union body: one for the clients of Cohere, Jina, Infinity, vLLM and others."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.integration.contract import (
    DOCUMENTS,
    QUERY,
    UNION_PATHS,
    VERBATIM,
    assert_scores,
    assert_tei,
    assert_union,
    assert_union_error,
    by_index,
    tei_body,
    union_body,
)


@pytest.mark.parametrize("path", UNION_PATHS)
@pytest.mark.parametrize("back", [None, False, True, "true", "false"])
def test_documents_come_back_only_when_asked(path: str, back: Any, client: httpx.Client) -> None:
    expected_back = back in (True, "true")
    response = client.post(path, json=union_body(return_documents=back))
    assert_union(response, documents=DOCUMENTS if expected_back else None, kept=len(DOCUMENTS))


@pytest.mark.parametrize("path", UNION_PATHS)
def test_documents_stay_away_by_default(path: str, client: httpx.Client, scores: list[float]) -> None:
    assert_scores(by_index(assert_union(client.post(path, json=union_body()), kept=len(DOCUMENTS))), scores)


def test_texts_come_back_verbatim(client: httpx.Client) -> None:
    for documents in (VERBATIM, [{"text": text} for text in VERBATIM]):
        body = union_body(documents=documents, return_documents=True)
        assert_union(client.post("/v1/rerank", json=body), documents=VERBATIM, kept=len(VERBATIM))
    assert_tei(client.post("/rerank", json=tei_body(texts=VERBATIM, return_text=True)), texts=VERBATIM)
    for path, key in (("/infinity/rerank", "results"), ("/voyage/v1/rerank", "data")):
        results = client.post(path, json=union_body(documents=VERBATIM, return_documents=True)).json()[key]
        assert {each["index"]: each["document"] for each in results} == dict(enumerate(VERBATIM))


@pytest.mark.parametrize(
    ("top_n", "kept"), [(None, 5), (0, 5), (1, 1), (4, 4), (5, 5), (6, 5), (10**6, 5)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/infinity/rerank"])
def test_top_n(path: str, top_n: int | None, kept: int, client: httpx.Client) -> None:
    response = client.post(path, json=union_body(top_n=top_n))
    assert response.status_code == 200, response.text
    assert len(response.json()["results"]) == kept


@pytest.mark.parametrize("path", UNION_PATHS)
def test_top_n_below_zero(path: str, client: httpx.Client) -> None:
    response = client.post(path, json=union_body(top_n=-1))
    if response.status_code == 200:
        assert_union(response, kept=len(DOCUMENTS))
    else:
        assert_union_error(response, 400)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text,
        lambda text: {"text": text},
        lambda text: {"text": text, "id": "7", "title": None, "metadata": {"a": 1}},
        lambda text: {"content": [{"type": "text", "text": text}]},
    ],
    ids=["string", "text", "text-and-more", "content"],
)
def test_forms_of_queries_and_documents(wrap: Any, client: httpx.Client, scores: list[float]) -> None:
    documents = [wrap(text) for text in DOCUMENTS]
    for query in (QUERY, {"text": QUERY}, {"content": [{"type": "text", "text": QUERY}]}):
        body = union_body(query=query, documents=documents, return_documents=True)
        results = assert_union(client.post("/v1/rerank", json=body), documents=DOCUMENTS, kept=len(DOCUMENTS))
        assert_scores(by_index(results), scores)


def test_forms_of_documents_mix(client: httpx.Client, scores: list[float]) -> None:
    documents = [DOCUMENTS[0], {"text": DOCUMENTS[1]}, {"content": [{"type": "text", "text": DOCUMENTS[2]}]}]
    results = assert_union(client.post("/rerank", json=union_body(documents=documents)), kept=3)
    assert_scores(by_index(results), scores)


def test_images_are_refused_or_passed_over(client: httpx.Client) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    for content in ([image], [{"type": "text", "text": "a pear"}, image], []):
        response = client.post("/v1/rerank", json=union_body(documents=[{"content": content}, "b"]))
        assert response.status_code in (200, 400)
        if response.status_code == 400:
            assert_union_error(response, 400)


def test_single_document(client: httpx.Client) -> None:
    for path in UNION_PATHS:
        assert_union(
            client.post(path, json=union_body(documents=["x"], return_documents=True)), documents=["x"], kept=1
        )
    assert_tei(client.post("/rerank", json=tei_body(texts=["x"])), kept=1)


OPTIONAL = {
    "model": "mini",
    "top_n": 5,
    "return_documents": False,
    "raw_scores": False,
    "use_activation": True,
    "max_chunks_per_doc": 10,
    "max_tokens_per_doc": 4096,
    "overlap_tokens": 80,
    "truncation": True,
    "truncate_prompt_tokens": -1,
    "truncation_side": "right",
    "max_tokens_per_query": 2048,
    "rank_fields": ["text"],
    "return_len": False,
    "kwargs": "{}",
    "instruction": "",
    "user": "u",
    "priority": 0,
}


@pytest.mark.parametrize("path", [*UNION_PATHS, "/infinity/rerank", "/voyage/v1/rerank"])
def test_null_is_the_same_as_left_out(path: str, client: httpx.Client, scores: list[float]) -> None:
    body = union_body(**dict.fromkeys([*OPTIONAL, "top_k", "relevant_spans", "request_id", "nothing"], None))
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    assert_scores(by_index(response.json()["data" if "voyage" in path else "results"]), scores)


@pytest.mark.parametrize("name", OPTIONAL)
def test_options_that_ask_for_nothing_change_nothing(name: str, client: httpx.Client, scores: list[float]) -> None:
    response = client.post("/v1/rerank", json=union_body(**{name: OPTIONAL[name]}))
    assert_scores(by_index(assert_union(response, kept=len(DOCUMENTS))), scores)


@pytest.mark.parametrize(
    "odd",
    [
        {"truncation_side": "middle"},
        {"truncation_side": "left", "truncate_prompt_tokens": 16},
        {"truncate_prompt_tokens": 0},
        {"truncate_prompt_tokens": 10**12},
        {"max_tokens_per_doc": -5},
        {"max_tokens_per_doc": 1},
        {"max_tokens_per_doc": "many"},
        {"max_tokens_per_query": 1, "max_tokens_per_doc": 1},
        {"max_chunks_per_doc": 0},
        {"max_chunks_per_doc": 10**9},
        {"overlap_tokens": 10**6, "max_chunks_per_doc": 2},
        {"overlap_tokens": -1},
        {"truncation": False},
        {"relevant_spans": {"mode": "enabled", "threshold": 0.1}},
        {"rank_fields": ["title", 7]},
        {"priority": -(10**30)},
        {"return_len": True},
        {"kwargs": "{not json"},
    ],
    ids=str,
)
def test_odd_options_are_warned_about_or_refused(odd: dict[str, Any], client: httpx.Client) -> None:
    response = client.post("/v1/rerank", json=union_body(documents=[*DOCUMENTS, "long " * 3000], **odd))
    if response.status_code == 200:
        assert_union(response, kept=len(DOCUMENTS) + 1)
        assert all(isinstance(warning, str) for warning in response.json()["meta"].get("warnings", []))
    else:
        assert_union_error(response, 400)


def test_unknown_fields_are_passed_over(client: httpx.Client, scores: list[float]) -> None:
    body = union_body(foo={"bar": [1, None]}, **{"": 0, "文": "字", "__class__": "x"})
    assert_scores(by_index(assert_union(client.post("/v1/rerank", json=body))), scores)
    assert_scores(by_index(assert_tei(client.post("/rerank", json=tei_body(foo=1, inputs=[]))), "score"), scores)


@pytest.mark.parametrize("model", ["bge-reranker-v2-m3", "", "Qwen/Qwen3-Reranker@main", "models:/x@y", "模型"])
def test_any_model_name_is_served(model: str, client: httpx.Client, scores: list[float]) -> None:
    assert_scores(by_index(assert_union(client.post("/v1/rerank", json=union_body(model=model)))), scores)


def test_ties_go_by_index(client: httpx.Client) -> None:
    documents = ["same", "other words", "same", "same", "other words", "same"]
    results = assert_union(client.post("/rerank", json=union_body(documents=documents)), kept=6)
    positions = [result["index"] for result in results]
    assert [position for position in positions if documents[position] == "same"] == [0, 2, 3, 5]
    assert [position for position in positions if documents[position] != "same"] == [1, 4]
    assert len(set(by_index(results).values())) == 2


def test_ids_differ_and_scores_do_not(client: httpx.Client) -> None:
    first, second = (client.post("/rerank", json=union_body()).json() for _ in range(2))
    assert first["id"] != second["id"]
    assert first["results"] == second["results"]
    assert first["usage"]["total_tokens"] > 0
    assert second["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("more", [{"raw_scores": True}, {"raw_scores": "true"}, {"use_activation": False}], ids=str)
@pytest.mark.parametrize("path", [*UNION_PATHS, "/infinity/rerank"])
def test_logits_on_request(path: str, more: dict[str, Any], client: httpx.Client, logits: list[float]) -> None:
    response = client.post(path, json=union_body(**more))
    assert response.status_code == 200, response.text
    assert_scores(by_index(response.json()["results"]), logits)


@pytest.mark.parametrize("more", [{"raw_scores": "false"}, {"use_activation": "true"}], ids=str)
def test_booleans_in_words(more: dict[str, Any], client: httpx.Client, scores: list[float]) -> None:
    assert_scores(by_index(assert_union(client.post("/v1/rerank", json=union_body(**more)))), scores)
