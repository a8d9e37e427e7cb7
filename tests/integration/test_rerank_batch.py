"""Many queries in one call of a real server: scores, errors, keys, traces, overload, deadlines, clients that leave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from rerankd import AsyncClient, Client, InvalidRequestError, RateLimitedError, Reranker
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from rerankd.traces.store import TraceStore
from tests.faults import token_id
from tests.integration.contract import (
    DOCUMENTS,
    QUERY,
    TOLERANCE,
    assert_json,
    assert_scores,
    assert_tei,
    assert_union,
    assert_union_error,
    by_index,
)
from tests.integration.serving import Served, serve, until
from tests.integration.test_faults import Faulty, body, faulty_server
from tests.integration.test_faults import client as connect

PATH = "/v1/rerank/batch"
OTHER = "大熊猫吃什么?"


def ranking(query: str = QUERY, **fields: Any) -> dict[str, Any]:
    return {"query": query, "documents": DOCUMENTS, **fields}


def rows(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    content = assert_json(response)
    assert [row["index"] for row in content["results"]] == list(range(len(content["results"])))
    assert [row["id"] for row in content["results"]] == [
        f"{content['id']}.{row['index']}" for row in content["results"]
    ]
    results: list[dict[str, Any]] = content["results"]
    return results


def test_a_pair_has_the_same_score_on_every_path(client: httpx.Client, mini: Reranker) -> None:
    wanted = {query: mini.score([(query, text) for text in DOCUMENTS]).tolist() for query in (QUERY, OTHER)}
    library = mini.rank_batch([QUERY, OTHER], [DOCUMENTS] * 2, None)
    with Client(str(client.base_url)) as ours:
        remote = ours.rank_batch([QUERY, OTHER], [DOCUMENTS] * 2, None, priority=3)
    for cache in (False, True):
        requests = [ranking(cache=cache, priority=999), ranking(OTHER, cache=cache)]
        for content in (requests, {"requests": requests}):
            for row, query in zip(rows(client.post(PATH, json=content)), wanted, strict=True):
                assert_scores(by_index(row["results"]), wanted[query])
    for position, (query, scores) in enumerate(wanted.items()):
        single = client.post("/v1/rerank", json=ranking(query, priority=7))
        assert_scores(by_index(assert_union(single)), scores)
        tei = client.post("/rerank", json={"query": query, "texts": DOCUMENTS, "priority": 7})
        assert_scores(by_index(assert_tei(tei), "score"), scores)
        pairs = client.post("/v1/score", json={"queries": query, "documents": DOCUMENTS, "priority": 7}).json()
        assert_scores(by_index(pairs["data"], "score"), scores)
        for result in (library[position], remote[position]):
            got = {ranked.index: ranked.relevance_score for ranked in result}
            assert got == pytest.approx(dict(enumerate(scores)), abs=TOLERANCE, rel=0)


def test_each_ranking_is_answered_as_alone(client: httpx.Client) -> None:
    options: list[dict[str, Any]] = [
        {"top_n": 2, "return_documents": True},
        {"explain": True, "raw_scores": True},
        {"threshold": 0.5},
        {"model": "rerank-v3.5", "rank_fields": [], "truncate_prompt_tokens": 3},
    ]
    answers = rows(client.post(PATH, json=[ranking(cache=False, **fields) for fields in options]))
    for row, fields in zip(answers, options, strict=True):
        alone = client.post("/v1/rerank", json=ranking(cache=False, **fields)).json()
        assert row["status"] == 200
        for one in (row, alone):
            for name in ("id", "timings", "index", "status"):
                one.pop(name, None)
        assert row == alone
    assert "is unknown" in answers[3]["meta"]["warnings"][1]


def test_an_error_is_that_of_its_ranking_and_the_others_are_answered(client: httpx.Client) -> None:
    wrong: list[Any] = [
        {"query": "", "documents": ["a"]},
        {"query": "q", "documents": []},
        {"query": "q"},
        {"query": "q", "documents": [7]},
        ranking(max_length=99_999),
        ranking(priority="soon"),
        "a text",
        None,
    ]
    answers = rows(client.post(PATH, json=[ranking(), *wrong, ranking(OTHER)]))
    assert [row["status"] for row in answers] == [200, *[400] * len(wrong), 200]
    for row in answers[1:-1]:
        assert row["error"]["code"] == "invalid_request"
        assert row["error"]["message"]
        assert "results" not in row
    assert "priority" in answers[6]["error"]["message"]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ([], 400),
        ({"requests": []}, 400),
        ({"query": "q", "documents": ["d"]}, 400),
        ("text", 400),
        ({"requests": [ranking()], "timeout": 0}, 400),
        ([{"query": "q", "documents": ["d"]}] * 1001, 413),
        ([{"query": "q", "documents": ["d"] * 5001}] * 2, 413),
    ],
    ids=range(7),
)
def test_a_call_that_cannot_be_used_is_refused(content: Any, status: int, client: httpx.Client) -> None:
    assert_union_error(client.post(PATH, json=content), status)


def test_priorities_beyond_what_there_is_are_named(client: httpx.Client) -> None:
    low, high, right = rows(client.post(PATH, json=[ranking(priority=-1), ranking(priority=5000), ranking(priority=5)]))
    assert low["meta"]["warnings"] == ["priority -1 is not within 0 to 999; 0 was used"]
    assert high["meta"]["warnings"] == ["priority 5000 is not within 0 to 999; 999 was used"]
    assert "warnings" not in right["meta"]
    tei = client.post("/rerank", json={"query": QUERY, "texts": ["a"], "priority": -1})
    assert tei.headers["x-rerankd-warnings"] == "priority -1 is not within 0 to 999; 0 was used"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, dict[str, str], Path]]:
    """Return a server with keys, the keys, and the file of its traces."""
    folder = tmp_path_factory.mktemp("keyed")
    made = {
        "slow": new_key("slow", best_priority=100),
        "few": new_key("few", requests_per_minute=3),
        "small": new_key("small", tokens_per_minute=300),
        "day": new_key("day", requests_per_day=4),
    }
    write_keys(folder / "keys.json", [key for _, key in made.values()])
    env = {
        "RERANKD_API_KEYS_FILE": str(folder / "keys.json"),
        "RERANKD_TRACES_URL": f"sqlite:///{folder}/traces.sqlite",
        "RERANKD_TRACES_SECONDS": "0.05",
        "RERANKD_MAX_QUERIES": "7",
    }
    with serve(env=env) as served:
        yield served, {name: clear for name, (clear, _) in made.items()}, folder / "traces.sqlite"


def test_a_priority_is_within_the_right_of_the_key(keyed: tuple[Served, dict[str, str], Path]) -> None:
    served, keys, _ = keyed
    warning = "priority 3 is more urgent than this API key may ask for; 100 was used"
    with Client(served.url, api_key=keys["slow"]) as ours:
        assert ours.rank(QUERY, DOCUMENTS, priority=3).warnings == (warning,)
        assert ours.rank(QUERY, DOCUMENTS, priority=100).warnings == ours.rank(QUERY, DOCUMENTS).warnings == ()
        results = ours.rank_batch([QUERY, OTHER], [DOCUMENTS] * 2, priority=3)
        assert [result.warnings for result in results] == [(warning,)] * 2
        job = ours.wait(ours.submit([ranking(priority=3), ranking()], priority="interactive").id, 30)
    assert job.results is not None
    assert [row.get("meta") for row in job.results] == [{"warnings": [warning]}, None]
    for path, asked in (("/v1/score", {"text_1": "q", "text_2": "d"}), ("/rerank", {"query": "q", "texts": ["d"]})):
        headers = {"authorization": f"Bearer {keys['slow']}"}
        response = httpx.post(served.url + path, json=asked | {"priority": 3}, headers=headers)
        assert response.headers["x-rerankd-warnings"] == warning


def test_quotas_are_charged_for_all_rankings(keyed: tuple[Served, dict[str, str], Path]) -> None:
    served, keys, _ = keyed

    def ask(name: str, number: int, documents: int = 1) -> httpx.Response:
        content = [{"query": f"q{n}", "documents": [f"d{n}"] * documents, "cache": False} for n in range(number)]
        return httpx.post(served.url + PATH, json=content, headers={"authorization": f"Bearer {keys[name]}"})

    assert [ask("few", 2).status_code, ask("few", 2).status_code] == [200, 429]
    refused = ask("few", 2)
    assert refused.json()["error"]["code"] == "rate_limited"
    assert int(refused.headers["retry-after"]) >= 1
    long = [{"query": "panda " * 20, "documents": ["bamboo " * 20]}] * 5
    headers = {"authorization": f"Bearer {keys['small']}"}
    assert [httpx.post(served.url + PATH, json=long, headers=headers).status_code for _ in range(2)] == [200, 429]
    assert ask("day", 5).status_code == 403
    assert ask("day", 4).status_code == 200
    assert ask("slow", 8).status_code == 413
    with Client(served.url, api_key=keys["few"], max_retries=0) as ours, pytest.raises(RateLimitedError):
        ours.rank_batch(["q"] * 3, [["d"]] * 3)


def test_each_ranking_is_traced_and_gets_feedback(keyed: tuple[Served, dict[str, str], Path]) -> None:
    served, keys, traces = keyed
    headers = {"authorization": f"Bearer {keys['slow']}", "x-request-id": "nightly", "x-rerankd-user": "u1"}
    content = [ranking(), {"query": ""}, ranking(OTHER)]
    assert [row["id"] for row in rows(httpx.post(served.url + PATH, json=content, headers=headers))] == [
        f"nightly.{number}" for number in range(3)
    ]
    with closing(TraceStore(f"sqlite:///{traces}")) as store:
        until(lambda: store.find_trace("nightly.0") and store.find_trace("nightly.2"), "traced", 20)
        assert store.find_trace("nightly.1") is None
        trace = store.find_trace("nightly.2")
    assert trace is not None
    assert trace.query == OTHER
    with Client(served.url, api_key=keys["slow"]) as ours:
        assert ours.feedback("nightly.0", "click", index=1)


async def test_the_asynchronous_client_has_the_errors_of_single_queries(client: httpx.Client) -> None:
    async with AsyncClient(str(client.base_url)) as ours:
        outcomes = await ours.rank_many([QUERY, OTHER], [DOCUMENTS, DOCUMENTS], max_length=99_999)
        assert [type(outcome) for outcome in outcomes] == [InvalidRequestError] * 2
        with pytest.raises(InvalidRequestError, match="max_length"):
            await ours.rank_batch([QUERY], [DOCUMENTS], max_length=99_999)


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Faulty]:
    control, server = faulty_server(tmp_path, RERANKD_MAX_QUEUE_SECONDS="2")
    with server as served:
        yield Faulty(served, control)
        control.write_text("{}")


def many(count: int, documents: int, name: str = "q") -> list[dict[str, Any]]:
    return [body(f"{name}{n}", *(f"document {n} {d} with more words" for d in range(documents))) for n in range(count)]


async def test_overload_deadline_and_disconnect(faulty: Faulty) -> None:
    """One server for the three, since each takes a second to start."""
    faulty.set(slow_ms=5)
    async with connect(faulty.url) as http:
        assert (await http.post("/rerank", json=many(1, 100)[0])).status_code == 200  # it measures the speed
        faulty.set(slow_ms=5, poison=token_id("bamboo"))
        answers = rows(await http.post(PATH, json=[*many(2, 2), body("q", "bamboo"), *many(1, 2, "r")]))
        assert [row["status"] for row in answers] == [200, 200, 500, 200]
        assert "secret" not in str(answers)

        calls = await asyncio.gather(*(http.post(PATH, json=many(10, 10, f"call {n} ")) for n in range(12)))
        assert {call.status_code for call in calls} == {200, 429}, "whole calls are refused"
        for call in calls:
            if call.status_code == 429:
                assert call.json()["error"]["code"] == "overloaded"
                assert int(call.headers["retry-after"]) >= 1
                assert 0 < int(call.headers["retry-after-ms"]) <= int(call.headers["retry-after"]) * 1000
            else:
                assert {row["status"] for row in rows(call)} == {200}

        started = time.monotonic()
        late = await http.post(PATH, json={"requests": many(2, 100, "late"), "timeout": 0.01})
        assert late.status_code == 504
        assert late.json()["error"]["code"] == "deadline_exceeded"
        assert (await http.post(PATH, json=many(2, 50), headers={"X-Request-Timeout": "0.01"})).status_code == 504
        assert time.monotonic() - started < 2
        mixed = [*many(1, 1, "in time"), many(1, 100, "too late")[0] | {"timeout": 0.05}]
        assert [row["status"] for row in rows(await http.post(PATH, json=mixed))] == [200, 504]

        faulty.set(slow_ms=30)
        leaving = asyncio.create_task(http.post(PATH, json=many(10, 20, "leaving")))
        await queued(faulty, 10)
        leaving.cancel()
        await queued(faulty, 0)
    assert faulty.metric("rerankd_dropped_pairs_total", reason="cancelled") > 100
    assert faulty.metric("rerankd_request_count_total", status="499") == 1


async def test_the_urgent_overtake_the_others(faulty: Faulty) -> None:
    faulty.set(slow_ms=2)
    order: list[str] = []

    async def ask(http: httpx.AsyncClient, name: str, priority: int) -> None:
        response = await http.post("/rerank", json=many(1, 20, name)[0] | {"priority": priority})
        assert response.status_code == 200, response.text
        order.append(name)

    async with connect(faulty.url) as http:
        await http.post("/rerank", json=many(1, 100)[0])
        faulty.set(hang=True)
        crowd = [asyncio.create_task(ask(http, f"crowd {n}", 500)) for n in range(8)]
        await queued(faulty, 8)
        urgent = asyncio.create_task(ask(http, "urgent", 0))
        await queued(faulty, 9)
        faulty.set(slow_ms=2)
        await asyncio.gather(urgent, *crowd)
    assert order.index("urgent") < 5


async def queued(faulty: Faulty, requests: int) -> None:
    """Wait until so many requests are in the queue."""
    deadline = time.monotonic() + 10
    while faulty.metric("rerankd_queue_size") != requests:
        assert time.monotonic() < deadline
        await asyncio.sleep(0)
