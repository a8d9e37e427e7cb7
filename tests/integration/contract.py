"""The contract of the wire: its paths, bodies for them, and what every answer must look like."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pytest

TOLERANCE = 1e-6

QUERY = "What is the capital of France?"
DOCUMENTS = [
    "Pears are a fruit that ripens in autumn.",
    "  Paris is the capital and largest city of France.\n",
    "巴黎是法国的首都。",
    "Pears are a fruit that ripens in autumn.",
    "",
]
VERBATIM = ["  \t padded \r\n", "🐼\U0001f1e8\U0001f1f3\u200d", "a\u0000b", "\ufeff\u2028", "", "竹子 bamboo " * 2000]

UNION_PATHS = ["/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking"]
TEI_PATHS = ["/", "/invocations"]
SCORE_PATHS = ["/score", "/v1/score"]
PREFIXED_PATHS = ["/infinity/rerank", "/voyage/v1/rerank"]
POST_PATHS = [*UNION_PATHS, *TEI_PATHS, *SCORE_PATHS, *PREFIXED_PATHS]
OPEN_PATHS = ["/health", "/ping", "/livez", "/readyz", "/infinity/health", "/v1/cluster/auth"]
GUARDED_PATHS = [
    "/info",
    "/v1/models",
    "/v1/models/mini",
    "/models",
    "/infinity/models",
    "/docs",
    "/openapi.json",
]

Results = list[dict[str, Any]]


def post_as_it_is(client: httpx.Client, path: str, body: object, headers: Mapping[str, str]) -> httpx.Response:
    """Headers as `requests` sends them: httpx refuses the space at the end of `Bearer `."""
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port or 80, timeout=60)
    try:
        connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return httpx.Response(response.status, headers=response.getheaders(), content=response.read())
    finally:
        connection.close()


def union_body(**more: Any) -> dict[str, Any]:
    return {"model": "mini", "query": QUERY, "documents": DOCUMENTS, **more}


def tei_body(**more: Any) -> dict[str, Any]:
    return {"query": QUERY, "texts": DOCUMENTS, **more}


def body_for(path: str, **more: Any) -> dict[str, Any]:
    if path in TEI_PATHS:
        return tei_body(**more)
    if path in SCORE_PATHS:
        return {"queries": QUERY, "documents": DOCUMENTS, **more}
    return union_body(**more)


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def assert_json(response: httpx.Response) -> Any:
    assert response.headers["content-type"].partition(";")[0] == "application/json", response.text
    return response.json()


def assert_usage(usage: Mapping[str, Any]) -> None:
    assert is_count(usage["prompt_tokens"])
    assert is_count(usage["total_tokens"])
    assert usage["total_tokens"] >= usage["prompt_tokens"] > 0


def assert_union(
    response: httpx.Response, *, documents: Sequence[str] | None = None, kept: int | None = None
) -> Results:
    """Return the body that satisfies every client of the union paths; `documents` are the texts asked back."""
    assert response.status_code == 200, response.text
    body = assert_json(response)
    assert isinstance(body["id"], str)
    assert body["id"]
    assert isinstance(body["model"], str)
    assert "object" not in body  # Jina says "list", infinity_client refuses everything but "rerank"
    assert_usage(body["usage"])
    assert isinstance(body["meta"]["api_version"]["version"], str)
    assert is_count(body["meta"]["billed_units"]["search_units"])
    assert is_count(body["meta"]["tokens"]["input_tokens"])
    assert is_count(body["meta"]["tokens"]["output_tokens"])
    results: Results = body["results"]
    for result in results:
        assert is_count(result["index"])
        assert isinstance(result["relevance_score"], float)
        assert None not in result.values()
        assert ("document" in result) == (documents is not None)
        if documents is not None:
            assert isinstance(result["document"], dict)
            assert result["document"]["text"] == documents[result["index"]]
    assert_ranking([(result["index"], result["relevance_score"]) for result in results], kept)
    return results


def assert_ranking(pairs: Sequence[tuple[int, float]], kept: int | None) -> None:
    """Best first, ties by index, each index once, all of them unless fewer were asked for."""
    assert list(pairs) == sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    assert len({index for index, _ in pairs}) == len(pairs)
    if kept is not None:
        assert len(pairs) == kept


def assert_scores(got: Mapping[int, float], wanted: Sequence[float]) -> None:
    assert got == pytest.approx({index: wanted[index] for index in got}, abs=TOLERANCE, rel=0)


def by_index(results: Results, score: str = "relevance_score") -> dict[int, float]:
    return {result["index"]: result[score] for result in results}


def assert_tei(response: httpx.Response, *, texts: Sequence[str] | None = None, kept: int | None = None) -> Results:
    assert response.status_code == 200, response.text
    results: Results = assert_json(response)
    assert isinstance(results, list)
    for result in results:
        assert set(result) == ({"index", "score"} if texts is None else {"index", "score", "text"})
        assert is_count(result["index"])
        assert isinstance(result["score"], float)
        if texts is not None:
            assert result["text"] == texts[result["index"]]
    assert_ranking([(result["index"], result["score"]) for result in results], kept)
    return results


def assert_union_error(response: httpx.Response, *statuses: int, path: str = "") -> dict[str, Any]:
    """One body for readers of `error.message` (OpenAI, vLLM), `detail` (Jina) and `message` (Cohere).

    At a `path` of Voyage, whose SDK cannot read an object there, the body holds `detail` only.
    """
    assert response.status_code in statuses, response.text
    body: dict[str, Any] = assert_json(response)
    if path.startswith("/voyage/"):
        assert list(body) == ["detail"]
        assert isinstance(body["detail"], str)
        return body
    assert set(body["error"]) >= {"message", "type", "param", "code"}
    assert isinstance(body["detail"], str)
    assert body["detail"]
    assert body["detail"] == body["message"] == body["error"]["message"]
    assert isinstance(body["id"], str)
    assert "Traceback" not in response.text
    return body


def assert_tei_error(response: httpx.Response, *statuses: int, kind: str | None = None) -> dict[str, Any]:
    assert response.status_code in statuses, response.text
    body: dict[str, Any] = assert_json(response)
    assert isinstance(body["error"], str)
    assert body["error"]
    kinds = {"Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"}
    assert body["error_type"] in ({kind} if kind else kinds)
    return body
