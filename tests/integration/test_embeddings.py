"""Embeddings over HTTP by the clients that people use, against the library's encoder."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from rerankd.retrieval.encoder import ModelEmbedder
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from tests.encoders import make_encoder
from tests.integration.serving import Served, metric, serve

pytestmark = pytest.mark.slow
TEXTS = ["手机的保修期为一年", "the warranty of phones", "pandas eat bamboo and nothing else at all"]
MAX_TEXTS = 50


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    parent = tmp_path_factory.mktemp("encoders")
    return {
        "small": make_encoder(parent / "small", "xlm-roberta", "mean", special_tokens=True),
        "other": make_encoder(parent / "other", "bert", "cls", hidden=16),
    }


@pytest.fixture(scope="module")
def embedder(folders: dict[str, Path]) -> ModelEmbedder:
    return ModelEmbedder(folders["small"], "small")


@pytest.fixture(scope="module")
def served(folders: dict[str, Path]) -> Iterator[Served]:
    models = json.dumps({name: str(folder) for name, folder in folders.items()})
    with serve("--embedding-models", models, "--max-documents", str(MAX_TEXTS)) as server:
        yield server


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=60) as client:
        yield client


def rows(response: httpx.Response) -> np.ndarray[Any, Any]:
    assert response.status_code == 200, response.text
    content = response.json()
    if isinstance(content, dict):
        content = [row["embedding"] for row in content["data"]]
    return np.array(content, np.float32)


def assert_same(vectors: Any, expected: Any) -> None:
    assert np.abs(np.asarray(vectors, np.float32) - expected).max() < 1e-6


def test_nothing_is_loaded_until_it_is_asked_for(http: httpx.Client) -> None:
    cards = {card["id"]: card for card in http.get("/v1/models").json()["data"]}
    assert (cards["mini"]["model_type"], cards["other"]["model_type"]) == ("rerank", "embedding")
    assert cards["other"]["loaded"] is False
    assert rows(http.post("/v1/embeddings", json={"input": "a", "model": "other"})).shape == (1, 16)
    card = http.get("/v1/models/other").json()
    assert (card["loaded"], card["dimensions"], card["backend"]) == (True, 16, "onnx")
    assert http.get("/info").json()["embedding_models"] == ["small", "other"]
    assert "other" in http.get("/metrics").text


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_openai(served: Served, embedder: ModelEmbedder, encoding_format: Any) -> None:
    import openai

    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="any", http_client=httpx.Client(trust_env=False)) as client:
        made = client.embeddings.create(model="small", input=TEXTS, encoding_format=encoding_format)
        alone = client.embeddings.create(model="small", input=TEXTS[0])
    assert made.model == "small"
    assert [row.index for row in made.data] == [0, 1, 2]
    embeddings = [row.embedding for row in made.data]
    if encoding_format == "base64":  # asked for by name, the package hands it on as it is
        embeddings = [np.frombuffer(base64.b64decode(str(text)), "<f4").tolist() for text in embeddings]
    assert_same(embeddings, embedder.embed(TEXTS, "query"))
    assert_same(alone.data[0].embedding, embedder.embed(TEXTS[:1], "query")[0])
    assert made.usage.total_tokens > alone.usage.total_tokens > 2


def test_an_index_reads_it_as_an_endpoint(served: Served, embedder: ModelEmbedder) -> None:
    from rerankd.retrieval.embedding import EndpointEmbedder

    endpoint = EndpointEmbedder(f"{served.url}/v1", "small", transport=httpx.HTTPTransport())
    assert_same(endpoint.embed(TEXTS, "query"), embedder.embed(TEXTS, "query"))
    endpoint.close()


def test_huggingface_hub(served: Served, embedder: ModelEmbedder) -> None:
    from huggingface_hub import InferenceClient

    made = InferenceClient(model=f"{served.url}/embed").feature_extraction(TEXTS[1], normalize=True, truncate=True)
    expected = embedder.embed(TEXTS, "query")
    assert_same(made, expected[1:2])
    cosines = InferenceClient(model=f"{served.url}/similarity").sentence_similarity(TEXTS[0], other_sentences=TEXTS[1:])
    assert cosines == pytest.approx((expected[1:] @ expected[0]).tolist(), abs=1e-6)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embeddings", "/v3/embeddings", "/v1/v1/embeddings/"])
def test_every_path_of_openai(path: str, http: httpx.Client, embedder: ModelEmbedder) -> None:
    assert_same(rows(http.post(path, json={"input": TEXTS})), embedder.embed(TEXTS, "query"))


def test_tei(http: httpx.Client, embedder: ModelEmbedder) -> None:
    expected = embedder.embed(TEXTS, "query")
    assert_same(rows(http.post("/embed", json={"inputs": TEXTS})), expected)
    response = http.post("/embed", json={"inputs": TEXTS[0], "prompt_name": "query", "truncation_direction": "Left"})
    assert_same(rows(response), expected[:1])
    assert response.headers["x-rerankd-warnings"] == "prompt_name is not supported here and was ignored"


def test_texts_of_any_length_are_cut_as_the_library_cuts_them_and_the_client_is_told(
    http: httpx.Client, embedder: ModelEmbedder
) -> None:
    text = "panda " * 170_000
    response = http.post("/v1/embeddings", json={"input": [text, "a"]})
    assert_same(rows(response), embedder.embed([text, "a"], "query"))
    assert response.json()["meta"]["warnings"] == ["1 of 2 texts were cut: they are longer than 512 tokens"]
    assert response.json()["usage"]["prompt_tokens"] < 520
    left = rows(http.post("/embed", json={"inputs": f"begin {text} end", "truncation_direction": "Left"}))
    right = rows(http.post("/embed", json={"inputs": f"begin {text} end"}))
    assert np.abs(left - right).max() > 1e-3
    for _ in range(2):  # the second finds a cached vector
        refused = http.post("/embed", json={"inputs": ["a", text], "truncate": False})
        assert (refused.status_code, refused.json()["error_type"]) == (422, "Validation")
        assert refused.json()["error"].startswith("Text 1 is longer than 512 tokens")


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"input": ""}, 400, "input.0 is empty"),
        ({"input": []}, 400, "input is empty"),
        ({}, 400, "input: Field required"),
        ({"input": [[1, 2]]}, 400, "token ids are not read"),
        ({"input": "a", "dimensions": 16}, 400, "dimensions is 16, and the vectors of small have 32"),
        ({"input": "a", "encoding_format": "int8"}, 400, "encoding_format"),
        ({"input": "a", "model": "nothing"}, 404, "There is no embedding model 'nothing'. Use one of: small, other."),
        ({"input": "a", "model": "mini"}, 404, "There is no embedding model 'mini'"),
        ({"input": "a", "truncate_prompt_tokens": 10_000}, 400, "512"),
        ({"input": ["a"] * 10_000}, 413, "10000 texts; 50 are allowed"),
    ],
)
def test_what_cannot_be_embedded_is_refused_in_words(
    body: dict[str, Any], status: int, sentence: str, http: httpx.Client
) -> None:
    response = http.post("/v1/embeddings", json=body)
    assert response.status_code == status
    assert sentence in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"inputs": ""}, 400, "Empty"),
        ({"inputs": []}, 400, "Empty"),
        ({"inputs": "a", "normalize": False}, 422, "Validation"),
        ({"inputs": 3}, 422, "Validation"),
    ],
)
def test_refusals_of_tei(body: dict[str, Any], status: int, kind: str, http: httpx.Client) -> None:
    response = http.post("/embed", json=body)
    assert (response.status_code, response.json()["error_type"]) == (status, kind)


async def test_keys_share_the_queue_have_quotas_and_unload_like_others(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """Many small requests of two keys at once are all answered, and charged with what they computed."""
    made = {"first": new_key("first"), "second": new_key("second"), "poor": new_key("poor", tokens_per_day=300)}
    made["admin"] = new_key("admin", admin=True)
    write_keys(tmp_path / "keys.json", [key for _, key in made.values()])
    keys = {name: {"Authorization": f"Bearer {clear}"} for name, (clear, _) in made.items()}
    models = json.dumps({"small": str(folders["small"])})
    env = {"RERANKD_API_KEYS_FILE": str(tmp_path / "keys.json")}
    with serve("--embedding-models", models, env=env) as server:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:

            async def send(name: str, text: str, model: str = "small", **headers: str) -> httpx.Response:
                body = {"input": text, "model": model}
                return await client.post("/v1/embeddings", json=body, headers=keys[name] | headers)

            numbers = [(name, number) for number in range(50) for name in ("first", "second")]
            answers = await asyncio.gather(*(send(name, f"text {number} of {name}") for name, number in numbers))
            assert {answer.status_code for answer in answers} == {200}
            assert metric(server.url, "rerankd_request_documents_count", keys["admin"], model="small") == 100
            for _ in range(9):  # from the cache, after the first: nothing is computed, nothing is charged
                assert (await send("poor", "a panda eats")).status_code == 200
            spent = [await send("poor", f"bear {number} " * 30) for number in range(6)]
            assert spent[0].status_code == 200
            assert (spent[-1].status_code, spent[-1].json()["error"]["code"]) == (429, "rate_limited")
            late = await send("first", "never computed", **{"X-Request-Timeout": "0.000001"})
            assert late.status_code == 504
            ranked = await client.post(
                "/rerank", json={"query": "q", "documents": ["d"], "model": "small"}, headers=keys["first"]
            )
            assert ranked.json()["model"] == "mini"
            assert (await client.post("/embed", json={"inputs": "a"})).status_code == 401
            swapped = await client.put("/v1/models/small", json={"source": "mini"}, headers=keys["admin"])
            assert (swapped.status_code, "do not mix" in swapped.text) == (400, True)
            assert (await client.delete("/v1/models/small", headers=keys["first"])).status_code == 403
            assert (await client.delete("/v1/models/small", headers=keys["admin"])).json()["unloaded"] is True
            assert (await client.get("/v1/models/small", headers=keys["first"])).json()["loaded"] is False
            assert (await send("second", "loaded again", str(folders["small"]))).status_code == 200


def test_without_embedding_models_the_error_names_the_setting(server_url: str) -> None:
    response = httpx.post(f"{server_url}/v1/embeddings", json={"input": "a"}, trust_env=False)
    assert response.status_code == 404
    assert (
        response.json()["detail"] == "This service has no embedding model. Set embedding_models, as name = reference."
    )
