from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from rerankd.server.app import create_app
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from rerankd.server.service import open_service
from rerankd.settings import load_settings


@pytest.mark.parametrize("kind", ["empty", "config", "adapter"])
async def test_a_source_that_is_no_model_is_the_clients_fault(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if kind != "empty":
        (folder / f"{kind}_config.json".replace("config_config", "config")).write_text("[" * 100_000)
    clear, key = new_key("admin", admin=True)
    write_keys(tmp_path / "keys.json", [key])
    service = open_service(load_settings(api_keys_file=str(tmp_path / "keys.json"), traces=False))
    transport = httpx.ASGITransport(create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers={"api-key": clear}) as http:
        answer = await http.put("/v1/models/mini", json={"source": str(folder)})
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("source: ")
    await service.close()
