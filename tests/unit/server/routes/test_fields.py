"""The matrix of docs/reference/dialects.md, row by row: each field in each form of a body, sent to the real service.

A field that is honoured changes the answer, one that is warned about does not change it and is named, also as an error
in strict requests, and one that is refused is an error that names it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from rerankd.models.template import PairTemplate
from rerankd.server.app import create_app
from rerankd.server.ignored_fields import ignored_field_log
from rerankd.server.responses import MAX_WARNINGS
from rerankd.server.routes.rerank import INFINITY_PATHS, PREDICT_PATHS, SCORE_PATHS, UNION_PATHS, VOYAGE_PATHS
from rerankd.server.schemas.field_support import FIELDS, FORMS, MAX_NAMED, RequestForm
from rerankd.server.service import open_service
from rerankd.settings import load_settings
from tests.instructions import ASKED, read_instructions
from tests.unit.server.routes.field_samples import BODIES, PATHS, SAMPLES

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]  # a model is loaded, once

SECONDS = 30
CASES = [
    pytest.param(form, name, id=f"{form}-{name}")
    for form in FORMS
    for name, row in FIELDS.items()
    if form not in row.another
]


@pytest.fixture(scope="module")
def encoder() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        read_instructions(patch)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def transport(encoder: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.ASGITransport]:
    folder: Path = tmp_path_factory.mktemp("service")
    jobs = str(folder / "jobs.sqlite")
    service = open_service(load_settings(model="mini", jobs_path=jobs, traces=False, threads=1))
    await service.start()
    yield httpx.ASGITransport(create_app(service))
    await service.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(transport: httpx.ASGITransport) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def body_with(form: RequestForm, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a body without a field, and with it; what a form does not honour is left out of both."""
    sample = SAMPLES[name]
    beside = {other: value for other, value in sample.beside.items() if form in FIELDS[other].honoured}
    plain = BODIES[form] | beside
    return plain, {other: value for other, value in plain.items() if other not in sample.instead_of} | {
        name: sample.value
    }


def results_of(response: httpx.Response) -> tuple[int, Any]:
    """Return what of a response depends on the request alone."""
    content = response.json()
    if response.status_code != 200 or isinstance(content, list):
        return response.status_code, content
    return 200, {name: value for name, value in content.items() if name not in ("id", "created", "meta", "timings")}


def warnings_of(response: httpx.Response) -> str:
    """Return the warnings; those of the body are those of the header."""
    warnings = str(response.headers.get("x-rerankd-warnings", ""))
    content = response.json()
    if isinstance(content, dict) and "meta" in content:
        assert "; ".join(content["meta"].get("warnings", [])) == warnings
    return warnings


def assert_refusal(response: httpx.Response, form: RequestForm, name: str) -> None:
    """Check the error of a strict request, in the form of its dialect."""
    content = response.json()
    assert response.status_code == 422, content
    if form in ("tei", "predict"):
        message = content["error"]
        assert content["error_type"] == "Validation"
    elif form == "voyage":
        assert list(content) == ["detail"]
        message = content["detail"]
    else:
        message = content["error"]["message"]
        assert content["error"]["code"] == "unsupported_field"
        assert content["error"]["param"] == name
    assert message.startswith(name)
    assert "ignored" not in message


async def test_every_field_has_a_sample() -> None:
    assert set(SAMPLES) == set(FIELDS)


@pytest.mark.parametrize(("form", "name"), CASES)
async def test_a_field_is_treated_as_its_row_says(form: RequestForm, name: str, http: httpx.AsyncClient) -> None:
    support, (plain, sent) = FIELDS[name].support(form), body_with(form, name)
    response = await http.post(PATHS[form], json=sent)
    if support == "refused":
        assert response.status_code == (422 if form in ("tei", "predict") else 400)
        assert f'"{name}: It is not supported here; {FIELDS[name].instead}.' in response.text
        return
    expected = results_of(await http.post(PATHS[form], json=plain))
    assert expected[0] == 200
    if support == "honoured":
        assert name not in warnings_of(response)
        if SAMPLES[name].is_visible:
            assert results_of(response) != expected
        return
    assert results_of(response) == expected
    assert FIELDS[name].warning in warnings_of(response)
    assert_refusal(await http.post(PATHS[form], json=sent | {"strict": True}), form, name)


@pytest.mark.parametrize("form", FORMS)
async def test_a_row_that_is_honoured_can_be_strict(form: RequestForm, http: httpx.AsyncClient) -> None:
    honoured = ["model", "timeout", "cache", "raw_scores", "instruction", "max_length"]
    body = BODIES[form] | {name: SAMPLES[name].value for name in honoured}
    for strict in ({"json": body | {"strict": True}}, {"json": body, "headers": {"X-Rerankd-Strict": "true"}}):
        response = await http.post(PATHS[form], **strict)  # type: ignore[arg-type]
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("path", [*UNION_PATHS, *INFINITY_PATHS, *VOYAGE_PATHS, *SCORE_PATHS, *PREDICT_PATHS, "/"])
async def test_a_field_that_nobody_knows_is_named_too(path: str, http: httpx.AsyncClient) -> None:
    forms: dict[str, RequestForm] = {"/predict": "predict", "/": "tei"}
    forms |= dict.fromkeys(SCORE_PATHS, "score")
    form = forms.get(path, "union")
    response = await http.post(path, json=BODIES[form] | {"rerank_mode": "deep", "": 0, "文": None})
    assert response.status_code == 200
    expected = "rerank_mode is unknown and was ignored; '' is unknown and was ignored"
    assert warnings_of(response) == response.headers["x-rerankd-warnings"] == expected
    refused = await http.post(path, json=BODIES[form] | {"rerank_mode": "deep"}, headers={"X-Rerankd-Strict": "1"})
    assert refused.status_code == 422
    assert "rerank_mode is unknown. Leave it out, or send strict: false." in refused.text


async def test_many_fields_are_counted_and_the_header_stays_small(http: httpx.AsyncClient) -> None:
    fields = {f"{'熊' * 200}{number}": 1 for number in range(50)}
    response = await http.post("/v1/rerank", json=BODIES["union"] | fields)
    warnings = response.json()["meta"]["warnings"]
    assert len(warnings) == MAX_NAMED + 1
    assert warnings[-1] == "40 more fields are unknown and were ignored"
    assert len(response.headers["x-rerankd-warnings"]) == MAX_WARNINGS
    assert response.headers["x-rerankd-warnings"].endswith("...")


async def test_the_log_names_a_field_once_for_each_client(
    transport: httpx.ASGITransport, caplog: pytest.LogCaptureFixture
) -> None:
    body = BODIES["union"] | {"priority": 3, "logged_once": True}
    with caplog.at_level("WARNING", "rerankd.server.ignored_fields"):
        for address in ("10.9.0.1", "10.9.0.2", "10.9.0.1"):
            other = httpx.ASGITransport(transport.app, client=(address, 1))
            async with httpx.AsyncClient(transport=other, base_url="http://test") as client:
                assert (await client.post("/v1/rerank", json=body)).status_code == 200
    assert [record.message for record in caplog.records if "logged_once" in record.message] == [
        f"{address} sends the field logged_once, which has no effect" for address in ("10.9.0.1", "10.9.0.2")
    ]
    assert ignored_field_log.note("10.9.0.2", ["logged_once"]) == []


@pytest.mark.parametrize("form", FORMS)
async def test_strict_with_a_model_that_reads_no_instruction(
    form: RequestForm, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PairTemplate, "takes_instruction", property(lambda template: False))
    body = BODIES[form] | {"instruction": ASKED}
    assert (await http.post(PATHS[form], json=body)).status_code == 200
    assert_refusal(await http.post(PATHS[form], json=body | {"strict": True}), form, "instruction")
    assert (await http.post(PATHS[form], json=body | {"instruction": " ", "strict": True})).status_code == 200


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"model": "rerank-v3.5"}, "model"),
        ({"truncate_prompt_tokens": 3}, "truncate_prompt_tokens"),
        ({"top_k": 1, "top_n": 2}, "top_k"),
        ({"overlap_tokens": 8}, "overlap_tokens"),
        ({"rank_fields": ["title"]}, "rank_fields"),
        ({"kwargs": {"batch": 8}}, "kwargs.batch"),
        ({"instruction": ASKED, "instruct": "Other."}, "instruct"),
    ],
)
async def test_values_that_would_be_changed_are_refused_too(
    fields: dict[str, Any], name: str, http: httpx.AsyncClient
) -> None:
    body = BODIES["union"] | fields
    assert warnings_of(await http.post("/v1/rerank", json=body)).startswith(name)
    assert_refusal(await http.post("/v1/rerank", json=body | {"strict": "true"}), "union", name)


async def test_strict_says_nothing_about_texts_that_are_cut(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/rerank", json=BODIES["union"] | {"max_length": 16, "strict": True})
    assert response.status_code == 200
    assert "were cut" in warnings_of(response)


async def test_the_body_comes_before_the_header(http: httpx.AsyncClient) -> None:
    body, headers = BODIES["union"] | {"user": "ada"}, {"X-Rerankd-Strict": "true"}
    assert (await http.post("/v1/rerank", json=body, headers=headers)).status_code == 422
    assert (await http.post("/v1/rerank", json=body | {"strict": False}, headers=headers)).status_code == 200
    assert (await http.post("/v1/rerank", json=body, headers={"X-Rerankd-Strict": "false"})).status_code == 200
    wrong = await http.post("/v1/rerank", json=body, headers={"X-Rerankd-Strict": "maybe"})
    assert wrong.status_code == 400
    assert "X-Rerankd-Strict is neither true nor false" in wrong.text


async def test_jobs_name_the_fields_when_they_are_submitted(http: httpx.AsyncClient) -> None:
    ranking = BODIES["union"] | {"user": "ada", "cache_salt": "x"}
    many = {"requests": [ranking, ranking], "prority": "bulk"}
    response = await http.post("/v1/jobs", json=many)
    assert response.status_code == 202
    expected = ["prority is unknown and was ignored", FIELDS["user"].warning, FIELDS["cache_salt"].warning]
    assert response.json()["meta"]["warnings"] == expected
    assert warnings_of(response)
    one = await http.post("/v1/jobs", json=BODIES["union"] | {"priority": "bulk", "timeout": 60})
    assert "meta" not in one.json()
    for body in (many, {"requests": [BODIES["union"], ranking | {"strict": True}]}, {"request": ranking}):
        refused = await http.post("/v1/jobs", json={"strict": True} | body)
        assert refused.status_code == 422, body
        assert refused.json()["error"]["code"] == "unsupported_field"
    inner = await http.post("/v1/jobs", json={"requests": [BODIES["union"], ranking], "strict": True})
    assert inner.json()["detail"].startswith("requests.1: user is not supported here")


async def test_a_strict_job_is_refused_by_the_model_it_runs_on(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PairTemplate, "takes_instruction", property(lambda template: False))
    body = {"requests": [BODIES["union"] | {"instruction": ASKED}], "strict": True}
    job = (await http.post("/v1/jobs", json=body)).json()["id"]
    async with asyncio.timeout(SECONDS):
        while (card := (await http.get(f"/v1/jobs/{job}")).json())["state"] in ("queued", "running"):
            await asyncio.sleep(0.01)
    assert card["results"][0]["error"]["code"] == "unsupported_field"
