"""Requests of client libraries and their parsing of responses, written from their descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tests.integration.contract import (
    DOCUMENTS,
    VERBATIM,
    assert_scores,
    assert_tei,
    assert_union,
    by_index,
    tei_body,
    union_body,
)


def infinity_client(body: Mapping[str, Any]) -> dict[int, float]:
    """RerankReturnType.from_dict: what it takes for granted, and the one literal it checks."""
    scores_by_index = {}
    for result in body["results"]:
        document = result.get("document")
        assert document is None or isinstance(document, str)
        scores_by_index[int(result["index"])] = float(result["relevance_score"])
    assert isinstance(body["model"], str)
    assert isinstance(body["usage"]["prompt_tokens"], int)
    assert isinstance(body["usage"]["total_tokens"], int)
    if body.get("object", "rerank") != "rerank":
        raise ValueError(f"object must match const 'rerank', got {body['object']!r}")
    return scores_by_index


def infinity_client_422(body: Mapping[str, Any]) -> list[str]:
    """HTTPValidationError.from_dict: `detail` is a list of objects."""
    return [dict(item)["msg"] for item in body.get("detail", [])]


def resp_detail(body: Mapping[str, Any]) -> Any:
    """LlamaIndex's and LangChain's Jina, Haystack's Jina and vLLM: no look at the status."""
    if "results" not in body:
        raise RuntimeError(body["detail"])
    return body["results"]


def test_llama_index_jina_asks_for_identity(client: httpx.Client) -> None:
    headers = {"Accept-Encoding": "identity"}
    response = client.post("/v1/rerank", json=union_body(documents=VERBATIM, return_documents=True), headers=headers)
    assert "content-encoding" not in response.headers
    assert len(resp_detail(response.json())) == len(VERBATIM)


def test_langchain_infinity(client: httpx.Client, scores: list[float], logits: list[float]) -> None:
    body = union_body(return_documents=False, raw_scores=False)
    assert_scores(infinity_client(client.post("/rerank", json=body).json()), scores)
    assert_scores(infinity_client(client.post("/infinity/rerank", json=body).json()), scores)
    body["raw_scores"] = True
    assert_scores(infinity_client(client.post("/rerank", json=body).json()), logits)


def test_infinity_prefix_gives_plain_documents(client: httpx.Client, scores: list[float]) -> None:
    response = client.post("/infinity/rerank", json=union_body(return_documents=True, top_n=3))
    assert_scores(infinity_client(response.json()), scores)
    assert [each["document"] for each in response.json()["results"]] == [
        DOCUMENTS[each["index"]] for each in response.json()["results"]
    ]
    assert len(response.json()["results"]) == 3
    bare = client.post("/infinity/rerank", json=union_body()).json()
    assert all("document" not in each for each in bare["results"])


def test_infinity_client_could_not_read_a_422(client: httpx.Client) -> None:
    """Bad requests to union bodies are 400: a 422's `detail` would be taken for a list of objects."""
    response = client.post("/rerank", json=union_body(documents=[]))
    assert response.status_code == 400
    with pytest.raises(ValueError, match="dictionary update"):
        infinity_client_422(response.json())


def test_readers_of_detail_get_the_sentence(client: httpx.Client) -> None:
    response = client.post("/v1/rerank", json=union_body(documents=[]))
    with pytest.raises(RuntimeError) as raised:
        resp_detail(response.json())
    assert str(raised.value) == response.json()["message"]


def test_vllm_extras_are_taken(client: httpx.Client, scores: list[float]) -> None:
    body = union_body(
        top_n=0,
        user="u",
        instruction="Judge",
        chat_template_kwargs={},
        use_activation=True,
        priority=0,
        request_id="r",
        mm_processor_kwargs=None,
        cache_salt="s",
        truncate_prompt_tokens=-1,
        truncation_side="right",
        max_tokens_per_query=0,
    )
    assert_scores(by_index(assert_union(client.post("/v1/rerank", json=body), kept=len(DOCUMENTS))), scores)


def test_cohere_v2_extras_are_taken(client: httpx.Client, scores: list[float]) -> None:
    body = union_body(
        max_tokens_per_doc=4096, priority=999, relevant_spans={"mode": "disabled"}, rank_fields=["text"], top_n=5
    )
    assert_scores(by_index(assert_union(client.post("/v2/rerank", json=body))), scores)


def test_litellm_and_rerankers_send_top_n_to_tei(client: httpx.Client) -> None:
    body = tei_body(top_n=2, return_text=True, raw_scores=False, truncation_direction="Right", model="mini")
    assert_tei(client.post("/rerank", json=body), texts=DOCUMENTS, kept=2)
