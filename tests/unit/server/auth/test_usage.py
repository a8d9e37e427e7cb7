"""Every route with a key is counted, whatever it computes or reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from rerankd.server.app import create_app
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from rerankd.server.middleware import OPEN_PATHS
from rerankd.server.routes.embeddings import EMBEDDING_PATHS
from rerankd.server.routes.rerank import SCORING_PATHS
from rerankd.server.service import open_service
from rerankd.settings import load_settings


def guarded(tmp_path: Path, **limits: Any) -> tuple[FastAPI, str]:
    clear, key = new_key("team", admin=True, **limits)
    write_keys(tmp_path / "keys.json", [key])
    settings = load_settings(
        api_keys_file=str(tmp_path / "keys.json"), jobs_path=str(tmp_path / "jobs"), traces=False, rollout=False
    )
    return create_app(open_service(settings)), clear


@pytest.mark.parametrize("limit", ["requests_per_minute", "requests_per_day"])
async def test_a_key_over_its_limit_gets_429_on_every_route(tmp_path: Path, limit: str) -> None:
    app, clear = guarded(tmp_path, **{limit: 1})
    paths = {path: methods for path, methods in app.openapi()["paths"].items() if path not in OPEN_PATHS}
    statuses: dict[str, int] = {}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", headers={"authorization": f"Bearer {clear}"}
    ) as http:
        await http.get("/v1/models")
        for path, methods in paths.items():
            if path in (*SCORING_PATHS, *EMBEDDING_PATHS):
                continue  # they are charged once their model is there: tests/integration/test_server.py
            for method in methods:
                response = await http.request(method, path.replace("{case}", "1"), json={})
                statuses[f"{method} {path}"] = response.status_code
                assert response.json()["error"]["code"] == "rate_limited"
                assert int(response.headers["retry-after"]) > 0
    assert set(statuses.values()) == {429}
    for named in ("post /v1/search", "post /v1/ask", "get /v1/activity", "get /v1/cases", "get /metrics"):
        assert named in statuses
    assert len([name for name in statuses if "/v1/jobs" in name]) >= 6


async def test_open_paths_are_not_counted(tmp_path: Path) -> None:
    app, clear = guarded(tmp_path, requests_per_minute=1)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        headers = {"authorization": f"Bearer {clear}"}
        assert {(await http.get("/livez", headers=headers)).status_code for _ in range(5)} == {200}
        assert (await http.get("/v1/models", headers=headers)).status_code == 200
        assert (await http.get("/v1/models", headers=headers)).status_code == 429
