"""Errors that need no model: unknown paths, wrong methods, wrong parameters."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from rerankd.server.app import create_app
from rerankd.server.service import open_service
from rerankd.settings import load_settings


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(open_service(load_settings()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/rerank", "POST"),
        ("DELETE", "/predict", "POST"),
        ("PUT", "/v1/cases", "GET, POST"),
        ("PATCH", "/v1/models/mini", "DELETE, GET, PUT"),
        ("POST", "/readyz", "GET, HEAD"),
        ("OPTIONS", "/v1/jobs", "GET, POST"),
        ("POST", "/docs", "GET"),
    ],
)
async def test_a_wrong_method_has_a_code_of_its_own(
    method: str, path: str, allowed: str, http: httpx.AsyncClient
) -> None:
    response = await http.request(method, path)
    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"
    assert response.headers["allow"] == allowed
    assert f"Use {allowed}" in response.json()["detail"]


async def test_an_unknown_path_names_the_right_one(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/rerank/v1/rerank", json={})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"
    assert "Use /v1/rerank;" in response.json()["detail"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/cases?limit=0", "limit"),
        ("/v1/cases?limit=many", "limit"),
        ("/v1/cases?state=lost", "state"),
        ("/v1/cases?detector=" + "x" * 41, "detector"),
        ("/v1/cases/seven", "case"),
    ],
)
async def test_a_wrong_parameter_is_refused_in_the_form_of_all_errors(
    path: str, field: str, http: httpx.AsyncClient
) -> None:
    response = await http.get(path)
    body = response.json()
    assert response.status_code == 400
    assert body["error"]["code"] == "invalid_request"
    assert body["detail"] == body["message"] == body["error"]["message"]
    assert body["detail"].startswith(f"{field}: Input should be") or body["detail"].startswith(f"{field}: String")


@pytest.mark.parametrize("path", ["/voyage/v1/rerank", "/voyage/rerank", "/voyage/v1/nothing", "/voyage/v1/v1/rerank"])
async def test_errors_for_voyage_hold_the_detail_only(path: str, http: httpx.AsyncClient) -> None:
    for response in (await http.post(path, json={}), await http.put(path)):
        assert response.status_code in (404, 405, 503)
        assert list(response.json()) == ["detail"]
        assert isinstance(response.json()["detail"], str)


async def test_the_api_description_does_not_promise_errors_in_another_form(http: httpx.AsyncClient) -> None:
    description = (await http.get("/openapi.json")).json()
    assert "HTTPValidationError" not in str(description)
