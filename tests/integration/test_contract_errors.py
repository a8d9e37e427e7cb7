"""Errors: what is refused, with which status, in a body that every client of the path can read."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.integration.contract import (
    POST_PATHS,
    PREFIXED_PATHS,
    QUERY,
    SCORE_PATHS,
    TEI_PATHS,
    UNION_PATHS,
    assert_json,
    assert_tei_error,
    assert_union,
    assert_union_error,
    body_for,
    tei_body,
    union_body,
)
from tests.integration.serving import serve


@pytest.mark.parametrize("path", [*UNION_PATHS, *PREFIXED_PATHS])
def test_empty_documents(path: str, client: httpx.Client) -> None:
    assert_union_error(client.post(path, json=union_body(documents=[])), 400, path=path)


@pytest.mark.parametrize("path", [*POST_PATHS, "/predict"])
def test_a_max_length_above_the_limit_of_the_model_is_refused(path: str, client: httpx.Client) -> None:
    body = {"inputs": [[QUERY, "a"]]} if path == "/predict" else body_for(path)
    refused = client.post(path, json=body | {"max_length": 100_000})
    if path in (*TEI_PATHS, "/predict"):
        assert_tei_error(refused, 422, kind="Validation")
    else:
        assert_union_error(refused, 400, path=path)
    assert "max_length is 100000; mini reads at most" in refused.text


@pytest.mark.parametrize("path", [*UNION_PATHS, *SCORE_PATHS, *PREFIXED_PATHS])
def test_so_is_its_other_name(path: str, client: httpx.Client) -> None:
    refused = client.post(path, json=body_for(path, truncate_prompt_tokens=100_000))
    assert_union_error(refused, 400, path=path)
    assert "max_length is 100000; mini reads at most" in refused.text


WRONG_BODIES: list[dict[str, Any]] = [
    {},
    {"query": QUERY},
    {"documents": ["a"]},
    {"query": QUERY, "documents": None},
    {"query": QUERY, "documents": 7},
    {"query": QUERY, "documents": {}},
    {"query": QUERY, "documents": [1]},
    {"query": QUERY, "documents": [None]},
    {"query": QUERY, "documents": ["a", {}]},
    {"query": QUERY, "documents": [{"text": 1}]},
    {"query": QUERY, "documents": [{"text": None}]},
    {"query": QUERY, "documents": [["a"]]},
    {"query": QUERY, "documents": [{"content": 1}]},
    {"query": None, "documents": ["a"]},
    {"query": 7, "documents": ["a"]},
    {"query": [], "documents": ["a"]},
    {"query": {}, "documents": ["a"]},
    {"query": {"text": None}, "documents": ["a"]},
    {"query": "", "documents": ["a"]},
    {"query": QUERY, "documents": ["a"], "top_n": "many"},
    {"query": QUERY, "documents": ["a"], "top_n": [1]},
    {"query": QUERY, "documents": ["a"], "return_documents": "perhaps"},
    {"query": QUERY, "documents": ["a"], "raw_scores": [True]},
]


@pytest.mark.parametrize("wrong", WRONG_BODIES, ids=str)
def test_bad_requests(wrong: dict[str, Any], client: httpx.Client) -> None:
    for path in (*UNION_PATHS, *PREFIXED_PATHS):
        if "voyage" in path and ("top_n" in wrong or "raw_scores" in wrong):
            continue  # not among Voyage's fields
        assert_union_error(client.post(path, json=wrong), 400, path=path)


MALFORMED = [
    b"",
    b" ",
    b"{",
    b"null",
    b"[]",
    b"7",
    b'"query"',
    b"{'query': 'a'}",
    b'{"query": "a", "documents": ["b"]',
    b'{"query": "a", "documents": ["b"]} x',
    b'{"query": "a", "documents": ["b"],}',
    b'{"query": "\xff", "documents": ["b"]}',
    b'{"query": "a\n\x00", "documents": ["b"]}',
    b"\x00",
    b"query=a&documents=b",
    b"[" * 100_000,
    b'{"query":' * 20_000,
]


@pytest.mark.parametrize("content", MALFORMED, ids=lambda content: repr(content[:30]))
def test_malformed_json(content: bytes, client: httpx.Client) -> None:
    for path in POST_PATHS:
        response = client.post(path, content=content, headers={"Content-Type": "application/json"})
        if path in TEI_PATHS and isinstance(assert_json(response).get("error"), str):
            assert_tei_error(response, 400, 422)
        else:
            assert_union_error(response, 400, path=path)


@pytest.mark.parametrize("path", ["/nope", "/v1/nope", "/v4/rerank", "/v1", "/rerank/extra", "/%2e%2e/x", "/文"])
def test_not_found(path: str, client: httpx.Client) -> None:
    assert_union_error(client.get(path), 404)
    assert_union_error(client.post(path, json=union_body()), 404)


@pytest.mark.parametrize("path", [*UNION_PATHS, "/invocations", *SCORE_PATHS, *PREFIXED_PATHS])
def test_method_not_allowed(path: str, client: httpx.Client) -> None:
    for method in ("GET", "PUT", "DELETE"):
        response = client.request(method, path)
        error = assert_union_error(response, 405, path=path)
        assert path.startswith("/voyage/") or error["error"]["code"] == "method_not_allowed"
        assert "POST" in response.headers["allow"]


def test_too_large(client: httpx.Client) -> None:
    for body in (union_body(documents=["x" * 1024] * 33_000), tei_body(texts=["x" * 1024] * 33_000)):
        assert_union_error(client.post("/rerank", json=body), 413)
    assert_union(client.post("/rerank", json=union_body()))


def test_overload_says_when_to_come_back() -> None:
    """Check the fields that the Cohere SDK and Haystack expect, and TEI's error format for TEI bodies."""
    words = ["some words to read " * 40 + str(number) for number in range(40)]

    def ask(number: int) -> httpx.Response:
        body = {"query": f"what is {number}?", "texts" if number % 2 else "documents": words}
        return httpx.post(f"{served.url}/rerank", json=body, timeout=60, trust_env=False)

    with serve(env={"RERANKD_MAX_QUEUE_SECONDS": "0.001"}) as served, ThreadPoolExecutor(8) as threads:
        responses = list(threads.map(ask, range(8)))
    refused = [response for response in responses if response.status_code != 200]
    for response in refused:
        assert response.status_code == 429
        assert int(response.headers["retry-after"]) >= 1
        assert int(response.headers["retry-after-ms"]) >= 1
    in_tei = [response for response in refused if "error_type" in response.json()]
    assert 0 < len(in_tei) < len(refused)
    for response in refused:
        if response in in_tei:
            assert_tei_error(response, 429, kind="Overloaded")
        else:
            assert_union_error(response, 429)


@pytest.mark.parametrize(
    "content",
    [
        rb'{"query": "\ud800", "documents": ["a", "b"], "return_documents": true}',
        rb'{"query": "a", "documents": ["\udfff", "b"], "return_documents": true}',
        rb'{"query": "a\udc00\ud800b", "documents": [{"text": "\ud800\ud800"}], "return_documents": true}',
        rb'{"query": "a", "documents": ["b"], "model": "\ud800"}',
        rb'{"query": "a", "documents": ["b"], "\ud800": "\ud800"}',
        rb'{"query": "a", "texts": ["\ud800"], "return_text": true}',
        rb'{"queries": "a", "documents": ["\ud800"], "text_1": "a", "text_2": "\ud800"}',
    ],
    ids=str,
)
def test_lone_surrogates(content: bytes, client: httpx.Client) -> None:
    for path in POST_PATHS:
        response = client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert response.status_code in (200, 400), (path, response.text)
        assert json.loads(response.content.decode("utf-8"))
