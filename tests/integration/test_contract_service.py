"""Endpoints about the service itself: models, health, API documents, and the need for keys."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.contract import GUARDED_PATHS, OPEN_PATHS, assert_json


def test_models(client: httpx.Client) -> None:
    listing = assert_json(client.get("/v1/models"))
    assert listing["object"] == "list"
    assert "mini" in [model["id"] for model in listing["data"]]
    for model in listing["data"]:
        one = assert_json(client.get(f"/v1/models/{model['id']}"))
        assert one["id"] == model["id"]
        assert one["model_type"] == "rerank"


@pytest.mark.parametrize("path", [*OPEN_PATHS, *GUARDED_PATHS])
def test_an_open_server_shows_everything(path: str, client: httpx.Client) -> None:
    assert client.get(path).status_code == 200


def test_cluster_auth_says_whether_keys_are_asked_for(client: httpx.Client, guarded: httpx.Client) -> None:
    assert assert_json(client.get("/v1/cluster/auth")) == {"auth": False}
    assert assert_json(guarded.get("/v1/cluster/auth")) == {"auth": True}
