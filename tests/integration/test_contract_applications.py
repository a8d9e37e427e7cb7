"""Requests of Dify, RAGFlow and Open WebUI and their parsing of responses, written from their descriptions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pytest

from rerankd import Reranker
from tests.integration.contract import (
    DOCUMENTS,
    QUERY,
    TOLERANCE,
    UNION_PATHS,
    Results,
    assert_json,
    assert_ranking,
    assert_scores,
    assert_tei,
    assert_union,
    assert_union_error,
    by_index,
    post_as_it_is,
    tei_body,
    union_body,
)


def dify_min_max(body: Mapping[str, Any]) -> dict[int, float]:
    """OAICompatRerankModel: min-max over what came back; nothing crashes it, one or equal scores become 0."""
    scores = [result["relevance_score"] for result in body["results"]]
    low, high = min(scores), max(scores)
    spread = high - low
    return {
        result["index"]: (result["relevance_score"] - low) / spread if spread else 0.0 for result in body["results"]
    }


def dify_text(result: Mapping[str, Any]) -> str:
    """`document` as an object with `text`, or as the text."""
    document = result["document"]
    return str(document["text"] if isinstance(document, dict) else document)


def ragflow_rank(scores: Sequence[float]) -> list[float]:
    """Base._normalize_rank: scores inside [0, 1] stay, others are stretched, equal ones are clamped."""
    low, high = min(scores), max(scores)
    if low >= 0 and high <= 1:
        return list(scores)
    if high == low:
        return [min(max(score, 0.0), 1.0) for score in scores]
    return [(score - low) / (high - low) for score in scores]


def ragflow_scores(body: Mapping[str, Any], documents: Sequence[str]) -> tuple[list[float], int]:
    """Return a score per place and the tokens to bill, as the Python providers do."""
    scores = [0.0] * len(documents)
    for result in body["results"]:
        scores[result["index"]] = result["relevance_score"]
    usage = body.get("usage") or {}
    return ragflow_rank(scores), usage["total_tokens"]


def ragflow_go(body: Mapping[str, Any], documents: Sequence[str]) -> dict[int, float]:
    """Refuse indexes that come twice or point outside, as the Go rewrite does."""
    scores: dict[int, float] = {}
    for result in body["results"]:
        index = result["index"]
        if index in scores or not 0 <= index < len(documents):
            raise ValueError(f"bad index {index}")
        scores[index] = result["relevance_score"]
    return scores


def open_webui(body: Mapping[str, Any], documents: Sequence[str]) -> list[tuple[str, float]]:
    """ExternalReranker: scores sorted by index, zipped with the documents by position."""
    ordered = sorted(body["results"], key=lambda result: result["index"])
    return list(zip(documents, [result["relevance_score"] for result in ordered], strict=True))


@pytest.mark.parametrize("top_n", [len(DOCUMENTS), 3, 0])
@pytest.mark.parametrize("authorization", [{}, {"Authorization": "Bearer x"}])
def test_dify_openai_api_compatible(
    top_n: int, authorization: dict[str, str], client: httpx.Client, scores: list[float]
) -> None:
    response = client.post("/v1/rerank", json=union_body(top_n=top_n), headers=authorization)
    assert response.status_code == 200
    results = assert_union(response, kept=top_n or len(DOCUMENTS))
    assert_scores(by_index(results), scores)


def test_dify_validates_its_credentials(client: httpx.Client) -> None:
    documents = [
        "Carson City is the capital city of the American state of Nevada.",
        "The Commonwealth of the Northern Mariana Islands is a group of islands in the Pacific Ocean.",
        "Washington, D.C. is the capital of the United States.",
    ]
    body = {"model": "any", "query": "What is the capital of the United States?", "documents": documents, "top_n": 3}
    kept = [each for each in assert_union(client.post("/rerank", json=body)) if each["relevance_score"] >= 0.8]
    assert all(each["index"] < 3 for each in kept)


@pytest.mark.parametrize("top_n", [None, 2])
def test_dify_sdk_base(top_n: int | None, client: httpx.Client) -> None:
    response = client.post("/rerank", json=union_body(top_n=top_n, return_documents=True))
    results = assert_union(response, documents=DOCUMENTS, kept=top_n or len(DOCUMENTS))
    assert [dify_text(result) for result in results] == [DOCUMENTS[result["index"]] for result in results]
    stretched = dify_min_max(response.json())
    assert (min(stretched.values()), max(stretched.values())) == (0.0, 1.0)


def test_dify_sdk_base_with_one_document(client: httpx.Client) -> None:
    body = union_body(documents=DOCUMENTS[:1], return_documents=True, top_n=None)
    assert dify_min_max(client.post("/rerank", json=body).json()) == {0: 0.0}


def test_dify_sdk_base_never_meets_empty_results(client: httpx.Client) -> None:
    with pytest.raises(ValueError, match="empty"):
        dify_min_max({"results": []})
    assert_union_error(client.post("/rerank", json=union_body(documents=[], return_documents=True)), 400)


def test_dify_tei_plugin(client: httpx.Client, scores: list[float]) -> None:
    info = assert_json(client.get("/info"))
    assert "reranker" in info["model_type"]
    assert info["max_input_length"] > 0
    assert info["max_client_batch_size"] > 0
    results = assert_tei(client.post("/rerank", json=tei_body(return_text=True)), texts=DOCUMENTS, kept=len(DOCUMENTS))
    assert_scores(by_index(results, "score"), scores)
    assert results[0]["score"] == pytest.approx(max(scores), abs=TOLERANCE)


def test_dify_xinference_plugin(client: httpx.Client, scores: list[float]) -> None:
    assert assert_json(client.get("/v1/cluster/auth")) == {"auth": False}
    assert assert_json(client.get("/v1/models/mini"))["model_type"] == "rerank"
    body = union_body(top_n=2, max_chunks_per_doc=None, return_documents=True, return_len=None, kwargs="{}")
    results = assert_union(client.post("/v1/rerank", json=body), documents=DOCUMENTS, kept=2)
    assert_scores(by_index(results), scores)


@pytest.mark.parametrize("top_n", [None, 3])
@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
def test_dify_localai_and_gpustack(path: str, top_n: int | None, client: httpx.Client) -> None:
    results = assert_union(client.post(path, json=union_body(top_n=top_n)), kept=top_n or len(DOCUMENTS))
    assert all("document" not in result for result in results)


def test_dify_jina(client: httpx.Client, scores: list[float]) -> None:
    body = union_body(documents=[{"text": text} for text in DOCUMENTS], top_n=3, return_documents=False)
    assert_scores(by_index(assert_union(client.post("/v1/rerank", json=body), kept=3)), scores)


def test_dify_siliconflow(client: httpx.Client) -> None:
    body = union_body(return_documents=True, max_chunks_per_doc=10, overlap_tokens=80, top_n=4)
    assert_union(client.post("/v1/rerank", json=body), documents=DOCUMENTS, kept=4)


@pytest.mark.parametrize("top_k", [None, 2, 50])
@pytest.mark.parametrize("back", [None, False, True])
def test_dify_voyage(top_k: int | None, back: bool | None, client: httpx.Client, scores: list[float]) -> None:
    response = client.post("/voyage/v1/rerank", json=union_body(top_k=top_k, return_documents=back, truncation=True))
    assert response.status_code == 200, response.text
    body = assert_json(response)
    assert body["object"] == "list"
    assert isinstance(body["model"], str)
    assert body["usage"]["total_tokens"] > 0
    data: Results = body["data"]
    assert all(("document" in each) == bool(back) for each in data)
    if back:
        assert all(each["document"] == DOCUMENTS[each["index"]] for each in data)
    assert_ranking([(each["index"], each["relevance_score"]) for each in data], min(top_k or 99, len(DOCUMENTS)))
    assert_scores(by_index(data), scores)


@pytest.mark.parametrize("path", UNION_PATHS[:2])
def test_ragflow_openai_localai_and_jina(path: str, client: httpx.Client, scores: list[float]) -> None:
    response = client.post(path, json=union_body(top_n=len(DOCUMENTS)), headers={"Authorization": "Bearer x"})
    assert_union(response, kept=len(DOCUMENTS))
    similarities, tokens = ragflow_scores(response.json(), DOCUMENTS)
    assert similarities == pytest.approx(scores, abs=TOLERANCE, rel=0)  # untouched: inside [0, 1]
    assert tokens > 0


def test_ragflow_xinference_sends_strings(client: httpx.Client, scores: list[float]) -> None:
    response = client.post("/v1/rerank", json=union_body(return_documents="true", return_len="true"))
    assert_union(response, documents=DOCUMENTS, kept=len(DOCUMENTS))
    assert ragflow_scores(response.json(), DOCUMENTS)[0] == pytest.approx(scores, abs=TOLERANCE, rel=0)


def test_ragflow_tei_sends_eight_at_a_time(client: httpx.Client, mini: Reranker) -> None:
    documents = [f"{text} {number}" for number in range(5) for text in DOCUMENTS]
    scores = [math.nan] * len(documents)
    for start in range(0, len(documents), 8):
        body = tei_body(texts=documents[start : start + 8], raw_scores=False, truncate=True)
        for result in assert_tei(client.post("/rerank", json=body)):
            scores[start + result["index"]] = result["score"]
    wanted = mini.score([(QUERY, text) for text in documents]).tolist()
    assert ragflow_rank(scores) == pytest.approx(wanted, abs=TOLERANCE, rel=0)


def test_ragflow_cohere_and_vllm(client: httpx.Client) -> None:
    body = union_body(top_n=len(DOCUMENTS), return_documents=False)
    assert_union(client.post("/v1/rerank", json=body), kept=len(DOCUMENTS))


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
@pytest.mark.parametrize("top_n", [1, 5])
def test_ragflow_go(path: str, top_n: int, client: httpx.Client, scores: list[float]) -> None:
    response = client.post(path, json=union_body(top_n=top_n))
    assert_scores(ragflow_go(response.json(), DOCUMENTS), scores)


@pytest.mark.parametrize("authorization", ["Bearer ", "Bearer None", "Bearer", "", "None", "Basic eDp5"])
def test_open_webui_on_an_open_server(authorization: str, client: httpx.Client, scores: list[float]) -> None:
    headers = {"Authorization": authorization, "X-OpenWebUI-User-Name": "%E7%8E%8B", "X-OpenWebUI-User-Role": "user"}
    response = post_as_it_is(client, "/v1/rerank", union_body(top_n=len(DOCUMENTS)), headers)
    assert_union(response, kept=len(DOCUMENTS))
    zipped = open_webui(response.json(), DOCUMENTS)
    assert [text for text, _ in zipped] == DOCUMENTS
    assert [score for _, score in zipped] == pytest.approx(scores, abs=TOLERANCE, rel=0)
    assert all(0 <= score <= 1 for _, score in zipped)
