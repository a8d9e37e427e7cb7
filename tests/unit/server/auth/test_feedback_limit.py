from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rerankd.feedback.events import FeedbackEvent
from rerankd.server.app import create_app
from rerankd.server.auth.feedback_limit import feedback_tokens
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.keys import new_key
from rerankd.server.service import open_service
from rerankd.settings import load_settings


@asynccontextmanager
async def serving(tmp_path: Path, *limits: dict[str, Any], **settings: Any) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Serve in this process, without a model; yield a client for each key."""
    made = [new_key(f"key {number}", **limit) for number, limit in enumerate(limits)]
    write_keys(tmp_path / "keys.json", [key for _, key in made])
    file = str(tmp_path / "keys.json") if made else None
    url = f"sqlite:///{tmp_path}/traces.sqlite"
    service = open_service(load_settings(traces_url=url, api_keys_file=file, **settings))
    transport = httpx.ASGITransport(create_app(service))
    headers = [{"authorization": f"Bearer {clear}"} for clear, _ in made] or [{}]
    clients = [httpx.AsyncClient(transport=transport, base_url="http://test", headers=each) for each in headers]
    yield clients
    for client in clients:
        await client.aclose()
    await service.close()


def clicks(count: int, **fields: object) -> dict[str, object]:
    return {"items": [{"request_id": f"r{number}", "kind": "click", "index": 0} | fields for number in range(count)]}


async def test_feedback_is_charged_to_the_quota_of_its_key(tmp_path: Path) -> None:
    async with serving(tmp_path, {"requests_per_minute": 2}, {"tokens_per_minute": 1000}, {}) as (few, short, free):
        for client in (few, few):
            assert (await client.post("/v1/feedback", json=clicks(1))).status_code == 202
        refused = await few.post("/v1/feedback", json=clicks(1))
        assert (refused.status_code, "retry-after" in refused.headers) == (429, True)
        assert (await short.post("/v1/feedback", json=clicks(30, document_id="é" * 200))).status_code == 202
        assert (await short.post("/v1/feedback", json=clicks(1))).status_code == 429
        assert (await free.post("/v1/feedback", json=clicks(500))).status_code == 202


async def test_the_feedback_of_a_key_in_a_minute_is_bounded_and_that_of_others_is_not(tmp_path: Path) -> None:
    async with serving(tmp_path, {}, {}, feedback_per_minute=2000) as (flood, other):
        answers = [(await flood.post("/v1/feedback", json=clicks(1000))).status_code for _ in range(5)]
        assert answers == [202, 202, 429, 429, 429]
        refused = await flood.post("/v1/feedback", json=clicks(1000))
        assert "Key key 0 takes 2000 items of feedback a minute (feedback_per_minute)." in refused.text
        assert (await other.post("/v1/feedback", json=clicks(1000))).status_code == 202


async def test_without_keys_everybody_shares_the_bound(tmp_path: Path) -> None:
    async with serving(tmp_path, feedback_per_minute=10) as (client,):
        assert (await client.post("/v1/feedback", json=clicks(10))).status_code == 202
        assert (await client.post("/v1/feedback", json=clicks(10))).status_code == 429


async def test_what_is_refused_as_invalid_counts_as_a_request_alone(tmp_path: Path) -> None:
    async with serving(tmp_path, {"requests_per_minute": 2, "tokens_per_minute": 40}) as (client,):
        assert (await client.post("/v1/feedback", json=clicks(1, kind="grade", value=-1))).status_code == 400
        assert (await client.post("/v1/feedback", json=clicks(1))).status_code == 202


@pytest.mark.parametrize(("document", "tokens"), [(None, 25 + 2), ("a" * 40, 25 + 12), ("字" * 40, 25 + 32)])
def test_a_token_is_four_bytes(document: str | None, tokens: int) -> None:
    assert feedback_tokens([FeedbackEvent("r" * 8, "thumb", document_id=document)]) == tokens
