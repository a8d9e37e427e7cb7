"""The instruction of a request over HTTP, in every dialect that has a field for it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from rerankd import AsyncClient
from rerankd._common.instruction import IGNORED
from rerankd.models.template import PairTemplate
from rerankd.server.app import create_app
from rerankd.server.routes.rerank import INFINITY_PATHS, UNION_PATHS, VOYAGE_PATHS
from rerankd.server.service import open_service
from rerankd.settings import load_settings
from rerankd.traces.store import TraceStore
from rerankd.types import MAX_INSTRUCTION
from tests.instructions import ASKED, read_instructions

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]  # a model is loaded, once
SECONDS = 30
_texts = (f"document {number}" for number in count())  # no score is in the cache


@pytest.fixture(scope="module")
def encoder() -> Iterator[list[str | None]]:
    with pytest.MonkeyPatch.context() as patch:
        yield read_instructions(patch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def transport(encoder: list[str | None], folder: Path) -> AsyncIterator[httpx.ASGITransport]:
    settings = load_settings(
        models={"mini": "mini", "legal": "mini"},
        model="mini",
        preload=["legal"],
        instructions={"legal": "the setting's"},
        jobs_path=str(folder / "jobs.sqlite"),
        traces_url=f"sqlite:///{folder}/traces.sqlite",
        threads=1,
    )
    service = open_service(settings)
    await service.start()
    yield httpx.ASGITransport(create_app(service))
    await service.close()


@pytest_asyncio.fixture(loop_scope="module")
async def http(transport: httpx.ASGITransport) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
def seen(encoder: list[str | None], http: httpx.AsyncClient) -> list[str | None]:
    encoder.clear()
    return encoder


def union(**fields: Any) -> dict[str, Any]:
    return {"query": "q", "documents": [next(_texts)]} | fields


def tei(**fields: Any) -> dict[str, Any]:
    return {"query": "q", "texts": [next(_texts)]} | fields


def pairs(**fields: Any) -> dict[str, Any]:
    return {"text_1": "q", "text_2": [next(_texts)]} | fields


def predict(**fields: Any) -> dict[str, Any]:
    return {"inputs": [["q", next(_texts)]]} | fields


BODIES = [
    *((path, union) for path in (*UNION_PATHS, *INFINITY_PATHS, *VOYAGE_PATHS, "/invocations")),
    *(("/rerank", tei), ("/", tei), ("/invocations", tei)),
    *(("/score", pairs), ("/v1/score", pairs), ("/invocations", pairs), ("/predict", predict)),
]


async def test_every_path_takes_it(http: httpx.AsyncClient, seen: list[str | None]) -> None:
    for path, body in BODIES:
        response = await http.post(path, json=body(instruction=ASKED))
        assert response.status_code == 200, (path, response.text)
        assert "x-rerankd-warnings" not in response.headers
        assert (path, seen) == (path, [ASKED])
        seen.clear()


ALIASES: list[tuple[Any, dict[str, Any]]] = [
    (union, {"instruct": ASKED}),
    (union, {"chat_template_kwargs": {"instruction": ASKED}}),
    (union, {"kwargs": json.dumps({"instruction": ASKED})}),
    (union, {"kwargs": {"instruction": ASKED}}),
    (union, {"instruction": "", "instruct": None, "kwargs": json.dumps({"instruction": ASKED})}),
    (union, {"instruction": ASKED, "instruct": "x", "chat_template_kwargs": {"instruction": "y"}}),
    (pairs, {"chat_template_kwargs": {"instruction": ASKED, "more": 1}}),
]
EMPTY_OPTIONS: tuple[Any, ...] = ({}, [], "", "{}", None, {"instruction": None}, '{"instruction": ""}')
NONE: list[dict[str, Any]] = [
    *({"instruction": blank} for blank in (None, "", "  ")),
    *({name: empty} for name in ("kwargs", "chat_template_kwargs") for empty in EMPTY_OPTIONS),
]
ODD: list[Any] = ["not json", "[1]", 7, {"instruction": 7}, {"batch": 8}, ["a"]]


async def test_other_names_of_it(http: httpx.AsyncClient, seen: list[str | None]) -> None:
    for body, fields in ALIASES:
        response = await http.post("/score" if body is pairs else "/rerank", json=body(**fields))
        assert response.status_code == 200, (fields, response.text)
        assert (fields, seen) == (fields, [ASKED])
        seen.clear()


async def test_what_asks_for_nothing(http: httpx.AsyncClient, seen: list[str | None]) -> None:
    for fields in NONE:
        response = await http.post("/v1/rerank", json=union(**fields))
        assert response.status_code == 200, (fields, response.text)
        assert "warnings" not in response.json()["meta"]
        assert (fields, seen) == (fields, [None])
        seen.clear()


async def test_options_without_an_instruction_are_named(http: httpx.AsyncClient, seen: list[str | None]) -> None:
    for name in ("kwargs", "chat_template_kwargs"):
        for odd in ODD:
            response = await http.post("/v1/rerank", json=union(**{name: odd}))
            (warning,) = response.json()["meta"]["warnings"]
            assert warning.startswith(name), odd
            assert warning.endswith("and was ignored"), odd
    assert set(seen) == {None}


async def test_a_model_has_a_default(http: httpx.AsyncClient, seen: list[str | None]) -> None:
    await http.post("/v1/rerank", json=union(model="legal"))
    await http.post("/v1/rerank", json=union(model="legal", instruction=ASKED))
    await http.post("/v1/rerank", json=union(model="legal", instruction=""))
    assert seen == ["the setting's", ASKED, "the setting's"]


async def test_one_that_is_too_long_or_no_text_is_refused(http: httpx.AsyncClient, seen: list[str | None]) -> None:
    long = "x" * (MAX_INSTRUCTION + 1)
    for body, path, status in ((union, "/v1/rerank", 400), (pairs, "/score", 400), (tei, "/rerank", 422)):
        for value in (long, 7, ["a"]):
            response = await http.post(path, json=body(instruction=value))
            assert response.status_code == status, (path, value)
            assert re.search("instruction: (Input should be|String should have at most 4096)", response.text)
    response = await http.post("/v1/rerank", json=union(kwargs={"instruction": long}))
    assert response.status_code == 400
    assert response.json()["detail"].startswith("The instruction has 4097 characters; 4096 are allowed.")
    assert seen == []


async def test_scores_of_two_instructions_differ_also_from_the_cache(http: httpx.AsyncClient) -> None:
    body = union()
    asked = [None, "fish", "cars", None, "fish", "cars"]
    responses = [await http.post("/v1/rerank", json=body | {"instruction": text}) for text in asked]
    scores = [response.json()["results"][0]["relevance_score"] for response in responses]
    assert scores[:3] == scores[3:]
    assert len(set(scores)) == 3
    assert [response.headers["x-compute-tokens"] == "0" for response in responses] == [False] * 3 + [True] * 3


async def test_a_model_that_reads_none_says_so_in_every_dialect(
    http: httpx.AsyncClient, seen: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PairTemplate, "takes_instruction", property(lambda template: False))
    for path, body in BODIES:
        response = await http.post(path, json=body(instruction=ASKED))
        assert (path, response.status_code, response.headers["x-rerankd-warnings"]) == (path, 200, IGNORED)
        content = response.json()
        if isinstance(content, dict) and "meta" in content:
            assert content["meta"]["warnings"] == [IGNORED]
        assert "instruction" not in (await http.post(path, json=body(instruction=""))).headers
    assert set(seen) == {None}


async def until_done(http: httpx.AsyncClient, job: str) -> list[dict[str, Any]]:
    async with asyncio.timeout(SECONDS):
        while (card := (await http.get(f"/v1/jobs/{job}")).json())["state"] in ("queued", "running"):
            await asyncio.sleep(0.01)
    rows: list[dict[str, Any]] = card["results"]
    return rows


async def test_jobs_keep_it(http: httpx.AsyncClient, seen: list[str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [union(instruction=ASKED), union(instruct="other"), union()]
    job = (await http.post("/v1/jobs", json={"requests": requests})).json()["id"]
    rows = await until_done(http, job)
    assert sorted(map(str, seen)) == sorted([ASKED, "other", "None"])
    assert all("meta" not in row for row in rows)
    monkeypatch.setattr(PairTemplate, "takes_instruction", property(lambda template: False))
    job = (await http.post("/v1/jobs", json={"requests": [union(instruction=ASKED)]})).json()["id"]
    (row,) = await until_done(http, job)
    assert row["meta"] == {"warnings": [IGNORED]}
    long = {"requests": [union(), union(instruction="x" * 5000)]}
    response = await http.post("/v1/jobs", json=long)
    assert response.status_code == 400
    assert response.json()["detail"].startswith("requests.1.instruction: ")


async def test_traces_keep_it(http: httpx.AsyncClient, transport: httpx.ASGITransport, folder: Path) -> None:
    asked: list[dict[str, Any]] = [{"instruction": ASKED}, {}, {"model": "legal"}]
    responses = [await http.post("/v1/rerank", json=union(**fields)) for fields in asked]
    service = transport.app.state.service  # type: ignore[attr-defined]
    assert await asyncio.to_thread(service.traces.flush)
    store = TraceStore(f"sqlite:///{folder}/traces.sqlite")
    traces = [store.find_trace(response.json()["id"]) for response in responses]
    assert [trace and trace.parameters.get("instruction") for trace in traces] == [ASKED, None, "the setting's"]
    store.close()


async def test_our_client_sends_it_and_tells_what_was_ignored(
    transport: httpx.ASGITransport, seen: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncClient("http://test", transport=transport) as client:
        result = await client.rank("q", [next(_texts)], instruction=ASKED)
        await client.score([("q", next(_texts))], instruction="other")
        assert (seen[-2:], result.warnings) == ([ASKED, "other"], ())
        monkeypatch.setattr(PairTemplate, "takes_instruction", property(lambda template: False))
        assert (await client.rank("q", [next(_texts)], instruction=ASKED)).warnings == (IGNORED,)
