"""Requests, results, input that is refused here."""

from __future__ import annotations

import json
import math
from typing import Any

import httpx
import numpy as np
import pytest

from rerankd import (
    AsyncClient,
    AuthenticationError,
    Client,
    Document,
    InvalidRequestError,
    RerankdError,
    reranker,
)
from rerankd.client.payload import document_payload
from rerankd.client.requests import DEFAULT_TOP_N
from rerankd.ranking.activation import activate
from tests.unit.client.remote import (
    KEY,
    LOGITS,
    Connect,
    answered,
    giving,
    one_after_the_other,
    refused,
)


def test_default_top_n_is_the_rerankers() -> None:
    assert DEFAULT_TOP_N == reranker.DEFAULT_TOP_N


async def test_ranking(connect: Connect) -> None:
    remote = connect(answered)
    documents: list[Any] = [{"text": "a", "id": "x", "metadata": {"page": 3}}, Document("b", "y"), "c"]
    result = await remote.rank("q", documents, 2)
    assert [ranked.index for ranked in result] == [1, 2]
    assert [ranked.raw_score for ranked in result] == [3.0, 0.5]
    assert [ranked.relevance_score for ranked in result] == pytest.approx(activate([3.0, 0.5], "sigmoid"))
    assert [(ranked.rank_before, ranked.rank_after) for ranked in result] == [(2, 1), (3, 2)]
    assert result[0].document is documents[1]
    assert (result[0].chunks, result[0].truncated) == (2, False)
    assert (result.model, result.request_id) == ("mini", "req-1")
    assert (result.usage.pairs, result.usage.tokens, result.usage.truncated) == (3, 70, 1)
    assert result.timings == {"tokenization": 0.5, "queue": 1.0, "inference": 2.5, "total": 4.0}
    ranking = await remote.rank("q", documents, None)
    assert ranking[2].document == Document("a", "x", {"page": 3})


async def test_what_travels(connect: Connect) -> None:
    remote = connect(answered, model="big", timeout=None)
    await remote.rank("q", [{"text": "熊猫\ud800", "id": "7", "metadata": {"secret": 1}}])
    assert str(remote.requests[0].url) == "http://server:8000/v1/rerank"
    assert remote.body == {
        "query": "q",
        "documents": [{"text": "熊猫\ufffd", "id": "7"}],
        "top_n": 5,
        "return_documents": False,
        "explain": True,
        "raw_scores": False,
        "model": "big",
    }
    assert {"authorization", "x-request-timeout"} & set(remote.requests[0].headers) == set()
    options = {"max_length": 64, "truncation": "longest_first", "long_documents": "chunk", "cache": False, "timeout": 2}
    options["instruction"] = "Retrieve statutes."
    await remote.rank("q", ["a"], None, model="small", activation="none", **options)
    assert remote.body.items() >= {**options, "model": "small", "raw_scores": True, "top_n": None}.items()


async def test_a_blank_instruction_does_not_travel_and_warnings_come_back(connect: Connect) -> None:
    remote = connect(answered)
    assert (await remote.rank("q", ["a", "b", "c"], instruction=" ")).warnings == ()
    assert "instruction" not in remote.body
    for meta, warnings in (({"warnings": ["one", "two"]}, ("one", "two")), ({"warnings": "one"}, ()), ([], ())):
        remote = connect(lambda request, meta=meta: httpx.Response(200, json=answered(request).json() | {"meta": meta}))
        assert (await remote.rank("q", ["a", "b", "c"])).warnings == warnings
    with pytest.raises(InvalidRequestError, match="The instruction has 5000 characters"):
        await remote.rank("q", ["a"], instruction="x" * 5000)


async def test_keys(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKD_API_KEY", f"{KEY}\n")
    for remote, expected in ((connect(answered), KEY), (connect(answered, api_key="other"), "other")):
        await remote.rank("q", ["a"])
        assert remote.requests[0].headers["authorization"] == f"Bearer {expected}"


async def test_keys_are_never_shown(connect: Connect) -> None:
    remote = connect(lambda request: refused(401, "unauthenticated"), api_key=KEY)
    with pytest.raises(AuthenticationError) as caught:
        await remote.rank("q", ["a"])
    assert KEY not in f"{caught.value!r} {remote.client!r} {vars(remote.client._exchange)!r}"
    for bad in (f"{KEY}\nX: y", f"{KEY} é"):
        with pytest.raises(InvalidRequestError, match="no header can carry") as refusal:
            Client(api_key=bad)
        assert KEY not in str(refusal.value)
    with Client("http://me:password@server/prefix/") as shown:
        assert repr(shown) == "Client('http://server/prefix', model=None)"


@pytest.mark.parametrize("activation", ["sigmoid", "none", "softmax"])
async def test_activations(connect: Connect, activation: Any) -> None:
    remote = connect(answered)
    result = await remote.rank("q", ["a", "b", "c"], 2, activation=activation)
    expected = activate(LOGITS, activation)
    assert [ranked.relevance_score for ranked in result] == pytest.approx([expected[1], expected[2]])
    assert [ranked.raw_score for ranked in result] == [3.0, 0.5]
    assert remote.body["top_n"] == (None if activation == "softmax" else 2)


async def test_no_documents_need_no_server(connect: Connect) -> None:
    remote = connect(answered, model="mini")
    result = await remote.rank("q", [])
    assert (len(result), result.model, result.usage.pairs) == (0, "mini", 0)
    assert (await remote.call("score", [])).shape == (0,)
    assert remote.requests == []


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("", ["a"]), {}, "The query is empty"),
        (("q", "a"), {}, "documents is of type str"),
        (("q", ["a"], 0), {}, "top_n is 0. top_n must be an integer of at least 1"),
        (("q", ["a"], True), {}, "top_n is True"),
        (("q", ["a"]), {"activation": "relu"}, "Unknown activation 'relu'"),
        (("q", ["a"]), {"timeout": 0}, "timeout is 0. timeout must be a number of seconds above 0"),
    ],
)
async def test_bad_input_is_refused_here(
    connect: Connect, arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    remote = connect(answered)
    with pytest.raises(InvalidRequestError, match=message):
        await remote.rank(*arguments, **options)
    with pytest.raises(TypeError, match="unexpected keyword argument 'topn'"):
        await remote.rank("q", ["a"], topn=1)
    assert remote.requests == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "localhost:8000"}, "url is not the http:// or https:// address"),
        ({"url": "http://"}, "url is not"),
        ({"url": None}, "url is not"),
        ({"timeout": math.inf}, "timeout is inf"),
        ({"timeout": "1"}, "timeout is '1'"),
        ({"max_retries": -1}, "max_retries is -1"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_bad_clients(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        kind(**options)


async def test_scores_in_calls_of_a_thousand(connect: Connect) -> None:
    def scored(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        rows = [{"index": i, "score": float(text)} for i, text in enumerate(body["text_2"])]
        return httpx.Response(200, json={"data": rows[::-1], "model": "mini", "usage": {}})

    remote = connect(scored)
    scores = await remote.call("score", [("q", str(number)) for number in range(2500)], activation="none", model="m")
    np.testing.assert_array_equal(scores, np.arange(2500.0))
    assert [len(json.loads(request.content)["text_1"]) for request in remote.requests] == [1000, 1000, 500]
    assert (remote.body["use_activation"], remote.body["model"]) == (False, "m")
    with pytest.raises(InvalidRequestError, match="Use sigmoid or none"):
        await remote.call("score", [("q", "1")], activation="softmax")


async def test_models(connect: Connect) -> None:
    remote = connect(giving({"object": "list", "data": [{"id": "mini"}, {"id": "big"}]}))
    assert await remote.call("models") == ["mini", "big"]
    assert remote.requests[0].method == "GET"
    with pytest.raises(RerankdError, match="returned no list of models"):
        await connect(giving({"models": []})).call("models")


@pytest.mark.parametrize(
    ("outcome", "ready"),
    [(200, True), (503, False), (httpx.ConnectError("refused"), False)],
)
async def test_ready(connect: Connect, outcome: int | Exception, ready: bool) -> None:
    remote = connect(one_after_the_other(httpx.Response(outcome) if isinstance(outcome, int) else outcome))
    assert await remote.call("ready") is ready
    assert remote.requests[0].url.path == "/readyz"


@pytest.mark.parametrize("score", [2.0, np.float32(2.0), 2])
def test_a_first_score_travels_without_an_id(score: float) -> None:
    payload = document_payload(Document("a", None, {"score": score}))
    assert json.loads(json.dumps(payload)) == {"text": "a", "score": 2.0}
    assert document_payload(Document("a", 7)) == {"text": "a", "id": "7"}
    assert document_payload(Document("a")) == "a"
