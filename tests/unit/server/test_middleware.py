"""Keys as the middleware sees them: expired ones, and what a metrics key may do."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from rerankd.server.app import create_app
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from rerankd.server.service import open_service
from rerankd.settings import load_settings

KEYS = {
    "admin": new_key("admin", admin=True),
    "plain": new_key("plain"),
    "metrics": new_key("metrics", metrics=True),
    "expired": new_key("expired", expires="2020-01-01T00:00:00+00:00"),
    "later": new_key("later", expires="2999-01-01T00:00:00+00:00"),
}


async def status(tmp_path: Path, path: str, clear: str) -> int:
    write_keys(tmp_path / "keys.json", [key for _, key in KEYS.values()])
    settings = load_settings(
        api_keys_file=str(tmp_path / "keys.json"), metrics_keys=["rk-metrics"], api_keys=["rk-plain"], traces=False
    )
    transport = httpx.ASGITransport(create_app(open_service(settings)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        return (await http.get(path, headers={"authorization": f"Bearer {clear}"})).status_code


@pytest.mark.parametrize(
    ("name", "metrics", "models"),
    [
        ("admin", 200, 200),
        ("plain", 403, 200),
        ("metrics", 200, 403),
        ("expired", 401, 401),
        ("later", 403, 200),
        ("rk-metrics", 200, 403),
        ("rk-plain", 403, 200),
        ("unknown", 401, 401),
    ],
)
async def test_metrics_need_an_admin_or_a_metrics_key(tmp_path: Path, name: str, metrics: int, models: int) -> None:
    clear = KEYS[name][0] if name in KEYS else name
    assert await status(tmp_path, "/metrics", clear) == metrics
    assert await status(tmp_path, "/v1/models", clear) == models


async def test_a_metrics_key_alone_closes_nothing(tmp_path: Path) -> None:
    transport = httpx.ASGITransport(create_app(open_service(load_settings(metrics_keys=["rk-metrics"], traces=False))))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.get("/v1/models")).status_code == 200
