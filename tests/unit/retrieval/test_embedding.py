from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from rerankd.errors import UnavailableError
from rerankd.retrieval.embedding import EndpointEmbedder


def embedder(answer: Callable[[httpx.Request], httpx.Response], pauses: list[float] | None = None) -> EndpointEmbedder:
    sleep = (pauses if pauses is not None else []).append
    return EndpointEmbedder("http://llm/v1", "letters", transport=httpx.MockTransport(answer), sleep=sleep)


def vectors(request: httpx.Request) -> httpx.Response:
    texts = json.loads(request.content)["input"]
    return httpx.Response(200, json={"data": [{"index": i, "embedding": [1.0, 2.0]} for i in range(len(texts))]})


def test_a_busy_endpoint_is_asked_again_after_a_pause() -> None:
    pauses: list[float] = []
    statuses = iter([429, 503])

    def answer(request: httpx.Request) -> httpx.Response:
        status = next(statuses, 200)
        return vectors(request) if status == 200 else httpx.Response(status)

    assert embedder(answer, pauses).embed(["a", "b"], "query").shape == (2, 2)
    assert len(pauses) == 2
    assert all(pause > 0 for pause in pauses)


def test_the_endpoint_says_how_long_to_wait() -> None:
    pauses: list[float] = []
    answers = iter([httpx.Response(429, headers={"retry-after": "7"})])
    assert embedder(lambda request: next(answers, vectors(request)), pauses).embed(["a"], "passage").shape == (1, 2)
    assert pauses == [7.0]


def test_an_endpoint_that_stays_busy_is_unavailable() -> None:
    pauses: list[float] = []
    requests: list[httpx.Request] = []

    def busy(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(503)

    with pytest.raises(UnavailableError, match="503"):
        embedder(busy, pauses).embed(["a"], "query")
    assert len(requests) == 3
    assert len(pauses) == 2


def test_a_refusal_is_not_repeated() -> None:
    pauses: list[float] = []
    with pytest.raises(UnavailableError, match="401"):
        embedder(lambda request: httpx.Response(401), pauses).embed(["a"], "query")
    assert pauses == []


@pytest.mark.parametrize("data", [{}, {"data": [{"index": 0}]}, {"data": [{"index": 0, "embedding": [[1]]}]}, []])
def test_a_response_without_vectors_is_unavailable(data: object) -> None:
    with pytest.raises(UnavailableError):
        embedder(lambda request: httpx.Response(200, json=data)).embed(["a"], "query")
