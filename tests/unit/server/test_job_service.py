from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from rerankd.engine.pool import ModelPool
from rerankd.errors import InvalidRequestError, UnavailableError
from rerankd.pipeline.pipeline import Pipeline
from rerankd.server.app import create_app
from rerankd.server.auth.keys import ApiKey, new_key
from rerankd.server.auth.quotas import MemoryQuotas
from rerankd.server.job_service import JobService
from rerankd.server.service import open_service
from rerankd.settings import load_settings
from tests.faults import ScriptedBackend
from tests.unit.jobs.scripted_worker import ScriptedLoader, ranking


def test_an_address_of_no_queue_is_refused_at_the_start() -> None:
    with pytest.raises(InvalidRequestError, match="queue_url"):
        open_service(load_settings(queue_url="redis://host:port/0"))


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/jobs"), ("GET", "/v1/jobs"), ("GET", "/v1/jobs/one")])
async def test_a_folder_that_cannot_be_written_is_the_services_fault(
    tmp_path: Path, method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    app = create_app(open_service(load_settings(jobs_path=str(tmp_path / "file" / "jobs.sqlite"))))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        response = await http.request(method, path, json={"query": "q", "documents": ["d"]})
    assert (response.status_code, response.headers["retry-after"]) == (503, "60")
    assert str(tmp_path) not in response.text
    assert str(tmp_path) in caplog.text


@pytest.mark.parametrize("error", [RuntimeError("no home"), PermissionError(13, "Permission denied")])
async def test_a_service_starts_without_a_place_for_jobs(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise error

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    service = open_service(load_settings())
    monkeypatch.setattr("pathlib.Path.home" if isinstance(error, RuntimeError) else "pathlib.Path.exists", fail)
    await service.job_service.start()
    monkeypatch.undo()
    await service.job_service.close(1)


async def test_a_service_without_a_home_has_no_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    service = open_service(load_settings())
    monkeypatch.setattr("pathlib.Path.home", fail)
    with pytest.raises(UnavailableError, match="cannot store jobs"):
        await service.job_service.queue()


class Corrections(MemoryQuotas):
    """Quotas that tell of a correction."""

    def __init__(self) -> None:
        super().__init__()
        self.corrected: asyncio.Queue[int] = asyncio.Queue()

    async def correct(self, key: ApiKey, delta_tokens: int, now: float) -> None:
        await super().correct(key, delta_tokens, now)
        self.corrected.put_nowait(delta_tokens)


async def test_a_job_is_settled_when_it_has_ended(tmp_path: Path) -> None:
    quotas, (_, key) = Corrections(), new_key("team", tokens_per_minute=100_000)
    pool = ModelPool("mini", {"mini": "mini"}, ScriptedLoader(ScriptedBackend()), close_seconds=5)
    service = JobService(load_settings(jobs_path=str(tmp_path / "jobs.sqlite")), Pipeline(pool), quotas)
    queue = await service.queue()
    for query in ("first", "second"):
        job, _ = await asyncio.to_thread(queue.enqueue, [ranking("a", "b", query=query)], charged=1000)
        await service.usage.charged(job, key, 1000)
        delta = await asyncio.wait_for(quotas.corrected.get(), 60)
        ended = queue.store.get(job.id)
        assert ended
        assert (ended.state, ended.charged) == ("succeeded", 1000)
        assert 0 < ended.computed < 100
        assert delta == ended.computed - 1000
    assert queue.store.totals() == {"succeeded": 2}
    await service.close(5)
    await pool.close()
