"""What needs no model: unknown paths, wrong methods, wrong parameters, bodies that cannot be read."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from rerankd.server.app import create_app
from rerankd.server.service import open_service
from rerankd.settings import load_settings


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(open_service(load_settings(max_body_mb=1)), is_local=True)


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
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


BODY_PATHS = ["/v1/jobs", "/v1/feedback", "/v1/cases"]


@pytest.mark.parametrize("path", BODY_PATHS)
@pytest.mark.parametrize(
    "kind", ["text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "text/html", "jsonp", "x"]
)
async def test_a_body_that_is_not_declared_as_json_is_refused(path: str, kind: str, http: httpx.AsyncClient) -> None:
    response = await http.post(path, content=b"{}", headers={"content-type": kind})
    assert response.status_code == 415
    assert response.json()["error"]["code"] == "unsupported_media_type"
    assert "Content-Type: application/json" in response.json()["detail"]


@pytest.mark.parametrize("path", BODY_PATHS)
@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "text/json", "a/b+json", ""])
async def test_json_by_any_name_is_read(path: str, kind: str, http: httpx.AsyncClient) -> None:
    response = await http.post(path, content=b"{}", headers={"content-type": kind})
    assert response.status_code == 400
    response = await http.post(path, content=b"{}")  # httpx sends no type with bytes
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"query": "熊猫"}'.encode("gbk"), "is not UTF-8: byte 11 is 0xd0"),
        ('{"query": "질문"}'.encode("euc-kr"), "is not UTF-8: byte 11"),
        ('{"query": "é"}'.encode("latin-1"), "is not UTF-8: byte 11 is 0xe9"),
        ('{"query": "質問"}'.encode("shift-jis"), "is not UTF-8"),
        ('{"query": "q"}'.encode("utf-16"), "is not UTF-8 but UTF-16"),
        ('{"query": "q"}'.encode("utf-16-be"), "is not UTF-8 but UTF-16"),
        ('{"query": "q"}'.encode("utf-32-le"), "is not UTF-8 but UTF-16 or UTF-32"),
        (gzip.compress(b"{}", mtime=0), "is compressed"),
        (b"{", "is not valid JSON"),
        (b"", "is empty"),
    ],
)
@pytest.mark.parametrize("path", BODY_PATHS)
async def test_what_is_wrong_with_a_body_is_said(
    path: str, content: bytes, reason: str, http: httpx.AsyncClient
) -> None:
    response = await http.post(path, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert reason in response.json()["detail"]


@pytest.mark.parametrize("path", BODY_PATHS)
async def test_a_charset_is_believed_where_bytes_alone_would_mislead(path: str, http: httpx.AsyncClient) -> None:
    content = '{"query": "什么"}'.encode("gbk")  # is UTF-8 too, of other characters
    for kind in ("application/json; charset=GBK", 'application/json;a=b;charset="gb18030"'):
        response = await http.post(path, content=content, headers={"content-type": kind})
        assert response.status_code == 400
        assert "The body is not UTF-8 but gb" in response.json()["detail"]
        ascii_only = await http.post(path, content=b'{"nothing": 1}', headers={"content-type": kind})
        assert "UTF-8" not in ascii_only.json()["detail"]


@pytest.mark.parametrize("path", BODY_PATHS)
@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", gzip.compress(b'{"nothing": 1}', mtime=0)),
        ("deflate", zlib.compress(b'{"nothing": 1}')),
        ("identity", b'{"nothing": 1}'),
        ("gzip", gzip.compress(b'\xef\xbb\xbf{"nothing": 1}', mtime=0)),
    ],
)
async def test_compressed_bodies_are_read(path: str, encoding: str, content: bytes, http: httpx.AsyncClient) -> None:
    response = await http.post(path, content=content, headers={"content-encoding": encoding})
    plain = await http.post(path, content=b'{"nothing": 1}')
    assert (response.status_code, response.json()["detail"]) == (400, plain.json()["detail"])


async def test_compressed_bodies_have_the_limits_of_plain_ones(http: httpx.AsyncClient) -> None:
    bomb = gzip.compress(b"\0" * 100_000_000, mtime=0)
    response = await http.post("/v1/jobs", content=bomb, headers={"content-encoding": "gzip"})
    assert response.status_code == 413
    assert "larger than 1 MB" in response.json()["detail"]


async def test_another_encoding_is_refused_and_the_known_ones_are_named(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/jobs", content=b"{}", headers={"content-encoding": "br"})
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate"
    for wrong in (b"{}", gzip.compress(b"{}", mtime=0)[:-2]):
        response = await http.post("/v1/jobs", content=wrong, headers={"content-encoding": "gzip"})
        assert response.status_code == 400


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/rerank", "/docs", "/metrics", "/info"])
async def test_another_host_is_refused_before_anything_else(path: str, http: httpx.AsyncClient) -> None:
    response = await http.get(path, headers={"host": "evil.example:8000"})
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "host_not_allowed"
    assert (await http.get("/livez", headers={"host": "10.0.0.7"})).status_code == 200  # probes


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/rerank", "/", "/v1/feedback", "/v1/jobs/job_1/retry"])
async def test_the_page_of_another_origin_is_refused(path: str, http: httpx.AsyncClient) -> None:
    response = await http.post(path, content=b"{}", headers={"origin": "https://evil.example"})
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "cross_origin"
