"""Many queries in one call, with either client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from rerankd.client import rankings
from rerankd.errors import InvalidRequestError, OverloadedError, ScoringError
from rerankd.types import RerankResult
from tests.unit.client.remote import Connect, answered, giving, one_after_the_other, refused


def batch(request: httpx.Request) -> httpx.Response:
    """Answer each ranking of a batch as it is answered alone; one whose query is `bad` has an error."""
    rows = []
    for index, row in enumerate(json.loads(request.content)["requests"]):
        single = httpx.Request("POST", "http://server:8000/v1/rerank", content=json.dumps(row))
        answer = json.loads(answered(single).content)
        error = {"message": "Bad query.", "code": "invalid_request"}
        rows.append(
            {"index": index, "status": 400, "error": error}
            if row["query"] == "bad"
            else {"index": index, "status": 200, **answer}
        )
    return httpx.Response(200, json={"results": rows})


async def test_each_query_has_the_result_of_a_call_of_its_own(connect: Connect) -> None:
    remote, alone = connect(batch), connect(answered)
    results = await remote.call("rank_batch", ["q", "r"], [["a", "b", "c"], ["d"]], 2, priority=7, user="u")
    assert results == [await alone.rank("q", ["a", "b", "c"], 2), await alone.rank("r", ["d"], 2)]
    assert len(remote.requests) == 1
    assert remote.requests[0].url.path == "/v1/rerank/batch"
    assert remote.requests[0].headers["x-rerankd-user"] == "u"
    assert [row["priority"] for row in remote.body["requests"]] == [7, 7]


@pytest.mark.parametrize("activation", ["softmax", "none"])
async def test_options_are_those_of_one_ranking(connect: Connect, activation: str) -> None:
    remote, alone = connect(batch), connect(answered)
    options: dict[str, Any] = {"activation": activation, "threshold": 0.1}
    results = await remote.call("rank_batch", ["q"], [["a", "b", "c"]], 2, **options)
    assert results == [await alone.rank("q", ["a", "b", "c"], 2, **options)]


async def test_the_error_of_one_query_is_raised_or_returned(connect: Connect) -> None:
    remote = connect(batch)
    queries, documents = ["q", "bad", "r"], [["a"], ["b"], ["c"]]
    with pytest.raises(InvalidRequestError, match="Bad query") as caught:
        await remote.call("rank_batch", queries, documents)
    assert "queries[1]" in caught.value.__notes__[0]
    outcomes = await remote.call("rank_many", queries, documents)
    assert [type(outcome) for outcome in outcomes] == [RerankResult, InvalidRequestError, RerankResult]


async def test_a_query_without_documents_is_not_sent(connect: Connect) -> None:
    remote = connect(batch)
    results = await remote.call("rank_batch", ["q", "r"], [[], ["a"]])
    assert [len(result) for result in results] == [0, 1]
    assert [row["query"] for row in remote.body["requests"]] == ["r"]
    assert await connect(batch).call("rank_batch", [], []) == []


async def test_more_than_a_service_takes_is_several_calls(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rankings, "MAX_QUERIES", 2)
    monkeypatch.setattr(rankings, "MAX_DOCUMENTS", 3)
    remote = connect(batch)
    sizes = [1, 1, 1, 3, 2, 2]
    results = await remote.call("rank_batch", ["q"] * 6, [["a"] * size for size in sizes])
    assert [len(result) for result in results] == sizes
    sent = [[len(row["documents"]) for row in json.loads(one.content)["requests"]] for one in remote.requests]
    assert sent == [[1, 1], [1], [3], [2], [2]]


async def test_an_overloaded_service_is_asked_again(connect: Connect) -> None:
    remote = connect(one_after_the_other(refused(429, "overloaded", {"retry-after-ms": "1500"}), batch))
    assert len(await remote.call("rank_batch", ["q"], [["a"]])) == 1
    assert remote.waits == [1.5]
    with pytest.raises(OverloadedError):
        await connect(lambda _: refused(429, "overloaded"), max_retries=0).call("rank_many", ["q"], [["a"]])


@pytest.mark.parametrize(
    "rows", [None, [], [{"index": 1}], [{"index": 0, "error": "no"}], [{"index": 0, "results": [{"index": 4}]}]]
)
async def test_what_does_not_fit_the_request_is_an_error(connect: Connect, rows: Any) -> None:
    with pytest.raises(ScoringError):
        await connect(giving({"results": rows})).call("rank_many", ["q"], [["a"]])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((["q"], []), {}, "queries and documents do not match"),
        (("q", [["a"]]), {}, "queries and documents do not match"),
        ((["q"], [["a"]]), {"priority": 1000}, "priority is 1000. Pass an integer from 0"),
        ((["q"], [["a"]]), {"priority": True}, "priority is True"),
    ],
)
async def test_bad_input_is_refused_here(
    connect: Connect, arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    remote = connect(batch)
    with pytest.raises(InvalidRequestError, match=message):
        await remote.call("rank_batch", *arguments, **options)
    assert remote.requests == []
