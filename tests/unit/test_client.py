from __future__ import annotations

import inspect
import json
import math
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import httpx
import numpy as np
import pytest

from rerankd import (
    AsyncClient,
    AuthenticationError,
    Client,
    DeadlineExceededError,
    Document,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitedError,
    RerankdError,
    ScoringError,
    UnavailableError,
    reranker,
)
from rerankd.client.requests import DEFAULT_TOP_N
from rerankd.ranking.activation import activate

KEY = "rk-very-secret"
LOGITS = [-1.0, 3.0, 0.5]
Handler = Callable[[httpx.Request], httpx.Response]


class Remote:
    """Either client with its server: methods are awaited, sleeps advance a clock and take no time."""

    def __init__(self, kind: type[Client] | type[AsyncClient], handler: Handler, options: dict[str, Any]) -> None:
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self.now = 1000.0
        self.handler = handler
        self.client = kind("http://server:8000", transport=httpx.MockTransport(self._answer), **options)
        self.client._exchange.clock = lambda: self.now
        self.client._exchange.backoff = replace(self.client._exchange.backoff, jitter=0.0)
        self.client._sleep = self._sleep_async if kind is AsyncClient else self._sleep  # type: ignore[assignment]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.handler(request)

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    async def _sleep_async(self, seconds: float) -> None:
        self._sleep(seconds)

    async def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        result = getattr(self.client, name)(*arguments, **options)
        return await result if inspect.isawaitable(result) else result

    async def rank(self, *arguments: Any, **options: Any) -> Any:
        return await self.call("rank", *arguments, **options)

    @property
    def body(self) -> Any:
        return json.loads(self.requests[-1].content)


Connect = Callable[..., Remote]


@pytest.fixture(params=[Client, AsyncClient])
async def connect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connect]:
    monkeypatch.delenv("RERANKD_API_KEY", raising=False)
    made: list[Remote] = []

    def connect(handler: Handler, **options: Any) -> Remote:
        made.append(Remote(request.param, handler, options))
        return made[-1]

    yield connect
    for remote in made:
        await remote.call("close")


def answered(request: httpx.Request) -> httpx.Response:
    """Return the service's response with made-up logits."""
    body = json.loads(request.content)
    logits = LOGITS[: len(body["documents"])]
    shown = logits if body["raw_scores"] else activate(logits, "sigmoid").tolist()
    order = sorted(range(len(logits)), key=lambda i: -logits[i])[: body["top_n"]]
    results = [
        {"index": i, "relevance_score": shown[i], "raw_score": logits[i], "truncated": i == 0, "chunks": i + 1}
        for i in order
    ]
    usage = {"prompt_tokens": 70, "total_tokens": 70, "pairs": len(logits), "truncated": 1}
    timings = {"tokenization": 0.5, "queue": 1, "inference": 2.5, "total": 4.0}
    return httpx.Response(
        200, json={"id": "req-1", "model": "mini", "results": results, "usage": usage, "timings": timings, "meta": {}}
    )


def refused(status: int, code: str, headers: dict[str, str] | None = None) -> httpx.Response:
    error = {"message": f"Sorry: {code}.", "type": "error", "param": None, "code": code}
    return httpx.Response(status, json={"error": error}, headers=headers)


def one_after_the_other(*outcomes: httpx.Response | Exception | Handler) -> Handler:
    left = list(outcomes)

    def handler(request: httpx.Request) -> httpx.Response:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, httpx.Response) else outcome(request)

    return handler


def giving(response: Any) -> Handler:
    return lambda request: httpx.Response(200, json=response)


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
    whole = await remote.rank("q", documents, None)
    assert whole[2].document == Document("a", "x", {"page": 3})


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
    await remote.rank("q", ["a"], None, model="small", activation="none", **options)
    assert remote.body.items() >= {**options, "model": "small", "raw_scores": True, "top_n": None}.items()


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


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_request", InvalidRequestError),
        (404, "model_not_found", ModelNotFoundError),
        (401, "unauthenticated", AuthenticationError),
        (403, "permission_denied", PermissionDeniedError),
        (413, "payload_too_large", PayloadTooLargeError),
        (500, "scoring_failed", ScoringError),
        (504, "deadline_exceeded", DeadlineExceededError),
        (422, "something_new", InvalidRequestError),
        (500, "internal_error", RerankdError),
    ],
)
async def test_errors_that_are_final(connect: Connect, status: int, code: str, kind: type[RerankdError]) -> None:
    remote = connect(lambda request: refused(status, code, {"X-Request-ID": "req-9"}))
    with pytest.raises(RerankdError, match=f"Sorry: {code}") as caught:
        await remote.rank("q", ["a"])
    assert type(caught.value) is kind
    assert ("request req-9" in str(caught.value)) == (status == 500)
    assert len(remote.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "overloaded", OverloadedError),
        (429, "rate_limited", RateLimitedError),
        (503, "unavailable", UnavailableError),
        (502, "something_new", UnavailableError),
    ],
)
async def test_errors_that_are_tried_again(connect: Connect, status: int, code: str, kind: type[RerankdError]) -> None:
    remote = connect(lambda request: refused(status, code))
    with pytest.raises(RerankdError, match=f"Sorry: {code}") as caught:
        await remote.rank("q", ["a"])
    assert type(caught.value) is kind
    assert remote.waits == [0.25, 0.5, 1.0]
    recovered = connect(one_after_the_other(refused(status, code), answered))
    assert len(await recovered.rank("q", ["a"])) == 1


async def test_backoff_is_capped_and_random(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = connect(lambda request: refused(503, "unavailable"), max_retries=7, timeout=None)
    remote.client._exchange.backoff = replace(remote.client._exchange.backoff, jitter=1.0)
    monkeypatch.setattr(random, "random", lambda: 0.5)
    with pytest.raises(UnavailableError):
        await remote.rank("q", ["a"])
    assert remote.waits == [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 4.0]


async def test_no_retries(connect: Connect) -> None:
    remote = connect(lambda request: refused(429, "overloaded", {"Retry-After": "2"}), max_retries=0)
    with pytest.raises(OverloadedError) as caught:
        await remote.rank("q", ["a"])
    assert (caught.value.retry_after, remote.waits) == (2.0, [])


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": formatdate(1_000_004, usegmt=True)}, 4.0),
        ({"Retry-After": formatdate(999_000, usegmt=True)}, 0.0),
        ({"retry-after-ms": "1500", "Retry-After": "2"}, 1.5),
        ({"retry-after-ms": "soon", "Retry-After": "2"}, 2.0),
        ({"Retry-After": "soon"}, 0.25),
        ({"Retry-After": "nan"}, 0.25),
    ],
)
async def test_retry_after(connect: Connect, headers: dict[str, str], wait: float) -> None:
    remote = connect(one_after_the_other(refused(429, "rate_limited", headers), answered))
    remote.client._exchange.wall_clock = lambda: 1_000_000.0
    await remote.rank("q", ["a"])
    assert remote.waits == [wait]


async def test_retries_end_with_the_timeout(connect: Connect) -> None:
    remote = connect(lambda request: refused(429, "overloaded", {"Retry-After": "4"}), timeout=10.0)
    with pytest.raises(OverloadedError) as caught:
        await remote.rank("q", ["a"])
    assert remote.waits == [4.0, 4.0]
    assert caught.value.retry_after == 4.0
    assert [request.headers["x-request-timeout"] for request in remote.requests] == ["10.000", "6.000", "2.000"]
    remote.waits.clear()
    with pytest.raises(OverloadedError):
        await remote.rank("q", ["a"], timeout=3)
    assert remote.waits == []


async def test_the_remaining_time_limits_the_transport(connect: Connect) -> None:
    remote = connect(one_after_the_other(refused(503, "unavailable", {"Retry-After": "6"}), answered))
    await remote.rank("q", ["a"], timeout=8)
    limits = [request.extensions["timeout"] for request in remote.requests]
    assert [(limit["connect"], limit["read"]) for limit in limits] == [(5.0, 8), (2.0, 2.0)]


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), httpx.RemoteProtocolError("cut")]
)
async def test_no_connection(connect: Connect, error: httpx.HTTPError) -> None:
    remote = connect(one_after_the_other(*[error] * 4))
    expected = r"http://server:8000/v1/rerank cannot be reached \(.*\). Start the service with `rerankd serve`"
    with pytest.raises(UnavailableError, match=expected) as caught:
        await remote.rank("q", ["a"])
    assert caught.value.__cause__ is error
    assert len(remote.requests) == 4
    assert len(await connect(one_after_the_other(error, answered)).rank("q", ["a"])) == 1


async def test_no_answer_in_time(connect: Connect) -> None:
    remote = connect(one_after_the_other(httpx.ReadTimeout("timed out")))
    with pytest.raises(DeadlineExceededError, match="did not respond within 2 s. Allow a longer timeout"):
        await remote.rank("q", ["a"], timeout=2)


async def test_answers_of_proxies(connect: Connect) -> None:
    for status, kind, sent in ((504, UnavailableError, 4), (404, RerankdError, 1), (413, PayloadTooLargeError, 1)):
        remote = connect(lambda request, status=status: httpx.Response(status, html="<h1>nginx</h1>"))
        with pytest.raises(RerankdError, match=f"http://server:8000/v1/rerank returned {status}") as caught:
            await remote.rank("q", ["a"])
        assert type(caught.value) is kind
        assert len(remote.requests) == sent
    with pytest.raises(RerankdError, match="returned 200 OK, but not a rerankd error"):
        await connect(lambda request: httpx.Response(200, html="<h1>Log in</h1>")).rank("q", ["a"])
    with pytest.raises(RerankdError, match="returned 307"):
        await connect(lambda request: httpx.Response(307, headers={"Location": "http://x"})).rank("q", ["a"])
    broken = httpx.DecodingError("bad gzip")
    with pytest.raises(RerankdError, match=r"cannot be read \(bad gzip\)"):
        await connect(one_after_the_other(broken)).rank("q", ["a"])


@pytest.mark.parametrize(
    ("response", "message"),
    [
        ({}, "no list 'results'"),
        ({"results": ["a"]}, "no list 'results'"),
        ({"results": [{"relevance_score": 1}]}, "index None of 2"),
        ({"results": [{"index": 2, "relevance_score": 1}]}, "index 2 of 2"),
        ({"results": [{"index": -1, "relevance_score": 1}]}, "index -1 of 2"),
        ({"results": [{"index": True, "relevance_score": 1}]}, "index True of 2"),
        ({"results": [{"index": 0, "relevance_score": 1}] * 2}, "an index twice"),
        ({"results": [{"index": 0, "relevance_score": 1}]}, "1 scores instead of 2"),
        ({"results": [{"index": 0}, {"index": 1}]}, "None as relevance_score"),
        ({"results": [{"index": 0, "relevance_score": "1"}, {"index": 1}]}, "'1' as relevance_score"),
    ],
)
async def test_answers_that_do_not_fit(connect: Connect, response: Any, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        await connect(giving(response)).rank("q", ["a", "b"])


async def test_answers_that_explain_nothing(connect: Connect) -> None:
    rows = [{"index": 1, "relevance_score": 2}, {"index": 0, "relevance_score": -1.5}]
    result = await connect(giving({"results": rows})).rank("q", ["a", "b"])
    assert [ranked.relevance_score for ranked in result] == [2.0, -1.5]
    assert all(math.isnan(ranked.raw_score) for ranked in result)
    assert (result.usage.pairs, result.request_id) == (2, "")
    assert list(result.timings) == ["tokenization", "queue", "inference", "total"]
    assert all(map(math.isnan, result.timings.values()))
    softmax = await connect(giving({"results": rows})).rank("q", ["a", "b"], activation="softmax")
    assert [ranked.raw_score for ranked in softmax] == [2.0, -1.5]
    assert sum(ranked.relevance_score for ranked in softmax) == pytest.approx(1.0)


def job(state: str, **more: Any) -> dict[str, Any]:
    return {"id": "job_a-1", "state": state, "total": 2, "done": 0, "failed": 0, "error": None, **more}


async def test_jobs(connect: Connect) -> None:
    rows = [{"index": 0, "results": []}, {"index": 1, "error": {"code": "x", "message": "No."}}]
    states = [job("queued"), job("queued"), job("running", done=1), job("failed", done=1, failed=1, results=rows)]
    remote = connect(one_after_the_other(*(httpx.Response(200, json=state) for state in states)), model="big")
    requests = [{"query": "q", "documents": ["d", Document("e")]}, {"query": "r", "documents": ["d"], "model": "own"}]
    status = await remote.call("submit", requests, priority="bulk", webhook="https://example.com/")
    assert (status.id, status.state, status.ended, status.results) == ("job_a-1", "queued", False, None)
    assert remote.body["requests"] == [
        {"model": "big", "query": "q", "documents": ["d", "e"]},
        {"model": "own", "query": "r", "documents": ["d"]},
    ]
    assert (remote.body["priority"], remote.body["webhook"]) == ("bulk", "https://example.com/")
    assert len(remote.body["idempotency_key"]) == 32
    status = await remote.call("wait", status.id, 60)
    assert (status.ended, status.failed, status.results) == (True, 1, rows)
    assert remote.waits == [0.05, pytest.approx(0.075)]
    assert {request.url.path for request in remote.requests[1:]} == {"/v1/jobs/job_a-1"}


async def test_a_submission_that_is_sent_again_is_one_job(connect: Connect) -> None:
    remote = connect(one_after_the_other(httpx.ReadError("gone"), httpx.Response(202, json=job("queued"))))
    await remote.call("submit", [{"query": "q", "documents": ["d"]}])
    first, second = (json.loads(request.content)["idempotency_key"] for request in remote.requests)
    assert first == second


async def test_jobs_that_go_wrong(connect: Connect) -> None:
    remote = connect(giving(job("running")))
    with pytest.raises(DeadlineExceededError, match="goes on"):
        await remote.call("wait", "job_a-1", 3.0)
    assert sum(remote.waits) <= 3.0
    for requests, message in (
        ([], "empty"),
        ([{"query": "q"}], "Request 0: documents"),
        ([{"documents": ["d"]}], "query"),
    ):
        with pytest.raises(InvalidRequestError, match=message):
            await remote.call("submit", requests)
    for name in ("", "a/b", "../x", None):
        with pytest.raises(InvalidRequestError, match="not the id of a job"):
            await remote.call("cancel", name)
    remote.handler = giving({"id": "x"})
    with pytest.raises(ScoringError, match="not a job"):
        await remote.call("job", "x")


async def test_context_managers() -> None:
    with Client(transport=httpx.MockTransport(answered)) as one:
        assert one.rank("q", ["a"])[0].index == 0
    assert one._http.is_closed
    async with AsyncClient(transport=httpx.MockTransport(answered)) as other:
        assert (await other.rank("q", ["a"]))[0].index == 0
    assert other._http.is_closed
