"""TEI's body, on its own paths and on the others."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from rerankd import Reranker
from tests.integration.contract import (
    DOCUMENTS,
    QUERY,
    TEI_PATHS,
    UNION_PATHS,
    assert_json,
    assert_scores,
    assert_tei,
    assert_tei_error,
    by_index,
    is_count,
    tei_body,
)


@pytest.mark.parametrize("path", [*UNION_PATHS, *TEI_PATHS])
def test_texts_make_it_tei_on_any_path(path: str, client: httpx.Client, scores: list[float]) -> None:
    results = assert_tei(client.post(path, json=tei_body()), kept=len(DOCUMENTS))
    assert_scores(by_index(results, "score"), scores)


@pytest.mark.parametrize("truncate", [True, False, None, "true", "false"])
@pytest.mark.parametrize("direction", ["Left", "Right", "left", "right", None])
def test_tei_truncation(truncate: Any, direction: str | None, client: httpx.Client, scores: list[float]) -> None:
    body = tei_body(truncate=truncate, truncation_direction=direction)
    assert_scores(by_index(assert_tei(client.post("/rerank", json=body)), "score"), scores)


def test_tei_cuts_long_texts(client: httpx.Client, mini: Reranker) -> None:
    texts = ["panda " * 3000, "bamboo"]
    for truncate in ({}, {"truncate": True}, {"truncate": None}):
        results = assert_tei(client.post("/rerank", json=tei_body(texts=texts, **truncate)), kept=2)
        assert_scores(by_index(results, "score"), mini.score([(QUERY, text) for text in texts]).tolist())
    left = client.post("/rerank", json=tei_body(texts=texts, truncate=True, truncation_direction="Left"))
    assert_tei(left, kept=2)


def test_tei_does_not_cut_when_told_so(client: httpx.Client) -> None:
    response = client.post("/rerank", json=tei_body(texts=["panda " * 3000], truncate=False))
    if response.status_code == 200:
        assert_tei(response, kept=1)
    else:
        assert_tei_error(response, 413, 422, kind="Validation")


@pytest.mark.parametrize(
    ("raw", "wanted"), [(True, "logits"), ("true", "logits"), (False, "scores"), ("false", "scores")]
)
def test_tei_raw_scores(raw: Any, wanted: str, client: httpx.Client, request: pytest.FixtureRequest) -> None:
    results = assert_tei(client.post("/rerank", json=tei_body(raw_scores=raw)))
    assert_scores(by_index(results, "score"), request.getfixturevalue(wanted))


@pytest.mark.parametrize("back", [True, "true", False, "false", None])
def test_tei_text_comes_back_only_when_asked(back: Any, client: httpx.Client) -> None:
    expected_back = back in (True, "true")
    assert_tei(client.post("/rerank", json=tei_body(return_text=back)), texts=DOCUMENTS if expected_back else None)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", *TEI_PATHS])
def test_tei_errors(path: str, client: httpx.Client) -> None:
    assert_tei_error(client.post(path, json=tei_body(texts=[])), 400, kind="Empty")
    wrongs: list[Any] = [None, 7, [1], [None], {}]
    for wrong in wrongs:
        assert_tei_error(client.post(path, json=tei_body(texts=wrong)), 400, 422, kind="Validation")
    assert_tei_error(client.post(path, json=tei_body(query=None)), 400, 422, kind="Validation")
    assert_tei_error(client.post(path, json={"texts": ["a"]}), 400, 422, kind="Validation")


@pytest.mark.parametrize("top_n", [None, 0, 1, 99])
@pytest.mark.parametrize("path", ["/rerank", *TEI_PATHS])
def test_top_n_of_tei(path: str, top_n: int | None, client: httpx.Client) -> None:
    assert_tei(client.post(path, json=tei_body(top_n=top_n)), kept=min(top_n or 99, len(DOCUMENTS)))


def test_info(client: httpx.Client) -> None:
    info = assert_json(client.get("/info"))
    assert set(info) >= {
        "model_id",
        "model_sha",
        "model_dtype",
        "model_type",
        "max_concurrent_requests",
        "max_input_length",
        "max_batch_tokens",
        "max_batch_requests",
        "max_client_batch_size",
        "auto_truncate",
        "tokenization_workers",
        "version",
        "sha",
        "docker_label",
    }
    assert list(info["model_type"]) == ["reranker"]
    assert set(info["model_type"]["reranker"]) >= {"id2label", "label2id"}
    assert info["auto_truncate"] is True
    for name in ("max_concurrent_requests", "max_input_length", "max_batch_tokens", "max_client_batch_size"):
        assert is_count(info[name])
        assert info[name] > 0
