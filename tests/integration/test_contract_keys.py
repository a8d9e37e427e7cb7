"""Keys: what is open without one, ways to send one, and wrong ones."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.contract import (
    GUARDED_PATHS,
    OPEN_PATHS,
    POST_PATHS,
    assert_json,
    assert_tei,
    assert_union,
    assert_union_error,
    body_for,
    post_as_it_is,
    tei_body,
    union_body,
)
from tests.integration.serving import API_KEY


@pytest.mark.parametrize("path", OPEN_PATHS)
def test_health_needs_no_key(path: str, guarded: httpx.Client) -> None:
    assert guarded.get(path).status_code == 200
    assert guarded.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *GUARDED_PATHS,
        "/",
        "/nope",
        "/v1/nope",
        "/info/",
        "//info",
        "/INFO",
        "/v1/models/",
        "/health/x",
        "/score",
        "/rerank",
    ],
)
def test_everything_else_needs_a_key(path: str, guarded: httpx.Client) -> None:
    url = str(guarded.base_url).rstrip("/") + path
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert_union_error(guarded.get(url, headers=headers), 401)
    if path in GUARDED_PATHS:
        assert guarded.get(url, headers={"Authorization": f"Bearer {API_KEY}"}).status_code == 200


def test_metrics_need_a_key_of_their_own(guarded: httpx.Client) -> None:
    assert_union_error(guarded.get("/metrics"), 401)
    assert_union_error(guarded.get("/metrics", headers={"Authorization": f"Bearer {API_KEY}"}), 403)


@pytest.mark.parametrize("path", POST_PATHS)
def test_posts_need_a_key(path: str, guarded: httpx.Client) -> None:
    assert_union_error(guarded.post(path, json=body_for(path)), 401, path=path)
    assert_union_error(guarded.post(path, content=b"{"), 401, path=path)
    assert guarded.post(path, json=body_for(path), headers={"Api-Key": API_KEY}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {API_KEY}"},
        {"Authorization": f"bearer {API_KEY}"},
        {"Authorization": API_KEY},
        {"X-API-Key": API_KEY},
        {"Api-Key": API_KEY},
        {"api-key": API_KEY},
    ],
    ids=str,
)
def test_ways_to_send_a_key(headers: dict[str, str], guarded: httpx.Client) -> None:
    assert_union(guarded.post("/v1/rerank", json=union_body(), headers=headers))
    assert_tei(guarded.post("/rerank", json=tei_body(), headers=headers))
    assert assert_json(guarded.get("/v1/models/mini", headers=headers))["model_type"] == "rerank"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer None"},
        {"Authorization": f"Bearer {API_KEY}x"},
        {"Authorization": f"Bearer {API_KEY[:-1]}"},
        {"Authorization": f"Bearer {API_KEY.upper()}"},
        {"Authorization": f"Basic {API_KEY}"},
        {"Authorization": "Bearer s\u00e9cret"},
        {"Authorization": "Bearer 密钥".encode().decode("latin-1")},
        {"X-API-Key": ""},
        {"X-API-Key": "wrong"},
        {"Api-Key": "wrong"},
        {"X-API-Key": f"[{API_KEY}]"},
    ],
    ids=str,
)
def test_wrong_keys(headers: dict[str, str], guarded: httpx.Client) -> None:
    assert_union_error(post_as_it_is(guarded, "/v1/rerank", union_body(), headers), 401)
    assert_union_error(post_as_it_is(guarded, "/rerank", tei_body(), headers), 401)


def test_keys_are_not_read_from_the_address(guarded: httpx.Client) -> None:
    for name in ("key", "api_key", "api-key", "token"):
        assert_union_error(guarded.post("/rerank", json=union_body(), params={name: API_KEY}), 401)
