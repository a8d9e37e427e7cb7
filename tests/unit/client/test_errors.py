"""Errors, retries, time limits, responses of proxies."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from rerankd import (
    AuthenticationError,
    DeadlineExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitedError,
    RerankdError,
    ScoringError,
    UnavailableError,
)
from tests.unit.client.remote import (
    Connect,
    answered,
    giving,
    one_after_the_other,
    refused,
)


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
