"""Tokens over HTTP, and the paths of OpenVINO Model Server."""

from __future__ import annotations

from typing import Any

import cohere
import httpx
import pytest

from rerankd.models.files import load_model
from tests.integration.contract import DOCUMENTS, QUERY, assert_scores

TEXT = "pandas eat bamboo 熊猫吃竹子"


def test_tokens_as_vllm_gives_them(client: httpx.Client) -> None:
    expected = load_model("mini").tokenizer().encode(TEXT)
    content = client.post("/tokenize", json={"prompt": TEXT, "return_token_strs": True}).json()
    assert content["tokens"] == expected.ids
    assert content["token_strs"] == expected.tokens
    assert content["count"] == len(expected.ids)
    assert content["max_model_len"] >= 512
    assert client.post("/tokenize", json={"prompt": TEXT}).json()["token_strs"] is None
    assert client.post("/detokenize", json={"tokens": expected.ids}).json() == {"prompt": TEXT}


def test_tokens_as_tei_gives_them(client: httpx.Client) -> None:
    (tokens,) = client.post("/tokenize", json={"inputs": TEXT}).json()
    ids = load_model("mini").tokenizer().encode(TEXT).ids
    assert [token["id"] for token in tokens] == ids
    assert all(TEXT[token["start"] : token["stop"]] == token["text"] for token in tokens)
    assert {token["special"] for token in tokens} == {False}
    assert client.post("/decode", json={"ids": [ids, ids[:1]]}).json()[0] == TEXT
    assert client.post("/decode", json={"ids": ids}).json() == [TEXT]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/tokenize", {}, 400),
        ("/tokenize", {"messages": []}, 400),
        ("/tokenize", {"inputs": [1]}, 422),
        ("/tokenize", {"prompt": "a" * 1_000_000}, 413),
        ("/tokenize", {"inputs": ["a"] * 20_000}, 413),
        ("/detokenize", {"tokens": [-1]}, 400),
        ("/detokenize", {"tokens": [2**40]}, 400),
        ("/decode", {"ids": [[2**31]]}, 422),
        ("/decode", {"ids": "a"}, 422),
    ],
)
def test_what_has_no_tokens_is_refused(path: str, body: dict[str, Any], status: int, client: httpx.Client) -> None:
    response = client.post(path, json=body)
    assert response.status_code == status, response.text


def test_odd_texts_and_ids_of_no_token(client: httpx.Client) -> None:
    assert client.post("/detokenize", json={"tokens": [2**31 - 1]}).json() == {"prompt": ""}
    assert client.post("/tokenize", json={"prompt": ""}).json()["tokens"] == []
    lone = client.post("/tokenize", content=b'{"prompt": "a\\ud800b"}', headers={"content-type": "application/json"})
    assert lone.status_code in (200, 400)


def test_openvino_model_server(client: httpx.Client, server_url: str, scores: list[float]) -> None:
    body = {"model": "mini", "query": QUERY, "documents": list(DOCUMENTS)}
    results = client.post("/v3/rerank", json=body).json()["results"]
    assert_scores({row["index"]: row["relevance_score"] for row in results}, scores)
    with cohere.Client("any", base_url=f"{server_url}/v3") as openvino:
        ranked = openvino.rerank(query=QUERY, documents=list(DOCUMENTS), model="m")
    assert_scores({row.index: row.relevance_score for row in ranked.results}, scores)
