"""Scores of pairs, in the order of the request."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from rerankd import Reranker
from tests.integration.contract import (
    DOCUMENTS,
    QUERY,
    SCORE_PATHS,
    assert_json,
    assert_scores,
    assert_union_error,
    assert_usage,
    by_index,
    is_count,
)


@pytest.mark.parametrize("path", SCORE_PATHS)
@pytest.mark.parametrize(
    ("queries", "documents"),
    [("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2")],
)
def test_score_keeps_the_order(
    path: str, queries: str, documents: str, client: httpx.Client, scores: list[float]
) -> None:
    for query in (QUERY, [QUERY], [QUERY] * len(DOCUMENTS)):
        response = client.post(path, json={"model": "mini", queries: query, documents: DOCUMENTS})
        assert response.status_code == 200, response.text
        body = assert_json(response)
        assert body["object"] == "list"
        assert is_count(body["created"])
        assert isinstance(body["id"], str)
        assert isinstance(body["model"], str)
        assert_usage(body["usage"])
        assert [each["index"] for each in body["data"]] == list(range(len(DOCUMENTS)))
        assert {each["object"] for each in body["data"]} == {"score"}
        assert_scores(by_index(body["data"], "score"), scores)


def test_score_pairs_by_position(client: httpx.Client, mini: Reranker) -> None:
    queries = [QUERY, "大熊猫吃什么?", "   fruit  "]
    wanted = mini.score(list(zip(queries, DOCUMENTS, strict=False))).tolist()
    response = client.post("/v1/score", json={"text_1": queries, "text_2": DOCUMENTS[:3]})
    assert_scores(by_index(response.json()["data"], "score"), wanted)


def test_score_warns_about_a_length_that_it_raises(client: httpx.Client) -> None:
    body = {"text_1": "a", "text_2": "b"}  # fits into 8 tokens
    raised = client.post("/v1/score", json=body | {"truncate_prompt_tokens": 3}).json()
    assert raised["meta"]["warnings"] == ["truncate_prompt_tokens is below 8 and was raised"]
    assert "meta" not in client.post("/v1/score", json=body | {"truncate_prompt_tokens": 8}).json()


def test_score_takes_one_pair(client: httpx.Client, scores: list[float], logits: list[float]) -> None:
    body = {"text_1": QUERY, "text_2": DOCUMENTS[0]}
    assert_scores(by_index(client.post("/score", json=body).json()["data"], "score"), scores)
    raw = client.post("/score", json={**body, "use_activation": False})
    assert_scores(by_index(raw.json()["data"], "score"), logits)


@pytest.mark.parametrize("path", SCORE_PATHS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"queries": ["a", "b"], "documents": ["a", "b", "c"]},
        {"queries": ["a", "b"], "documents": ["a"]},
        {"queries": [], "documents": ["a"]},
        {"queries": "a", "documents": []},
        {"queries": "a"},
        {"documents": ["a"]},
        {"queries": 7, "documents": ["a"]},
        {"queries": "a", "documents": [None]},
        {},
    ],
    ids=str,
)
def test_score_refuses(path: str, wrong: dict[str, Any], client: httpx.Client) -> None:
    assert_union_error(client.post(path, json=wrong), 400)
