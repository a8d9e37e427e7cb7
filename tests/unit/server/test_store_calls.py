from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import httpx
import pytest

from rerankd.errors import UnavailableError
from rerankd.server.app import create_app
from rerankd.server.service import open_service
from rerankd.server.store_calls import StoreCaller
from rerankd.settings import load_settings


def fail() -> None:
    raise KeyError("missing")


async def test_a_call_returns_its_result_and_raises_its_error() -> None:
    store = StoreCaller("job queue")
    assert await store.call(sorted, [2, 1], reverse=True) == [2, 1]
    with pytest.raises(KeyError, match="missing"):
        await store.call(fail)


async def test_a_call_that_hangs_is_given_up_in_time_and_keeps_its_slot_until_it_ends() -> None:
    store, hang = StoreCaller("trace database", seconds=0.05, limit=1), threading.Event()
    with pytest.raises(UnavailableError, match="trace database did not answer within 0.05 s"):
        await store.call(hang.wait)
    with pytest.raises(UnavailableError, match="did not answer"):
        await store.call(sorted, [])
    hang.set()
    patient = StoreCaller("trace database", limit=1)
    assert await patient.call(sorted, [1]) == [1]


async def test_a_time_limit_of_the_store_itself_is_not_taken_for_that_of_the_call() -> None:
    def give_up() -> None:
        raise TimeoutError("of the driver")

    with pytest.raises(TimeoutError, match="of the driver"):
        await StoreCaller("job queue").call(give_up)


@pytest.mark.parametrize(
    ("method", "path", "store"),
    [("GET", "/v1/cases", "trace_service"), ("GET", "/v1/activity", "trace_service"), ("GET", "/v1/jobs", "jobs")],
)
async def test_a_store_that_hangs_keeps_no_thread_of_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, path: str, store: str
) -> None:
    settings = load_settings(jobs_path=str(tmp_path / "jobs.sqlite"), traces_url=f"sqlite:///{tmp_path}/traces.sqlite")
    service, hang, arrived = open_service(settings), threading.Event(), threading.Semaphore(0)

    def wait(*_: object, **__: object) -> list[object]:
        arrived.release()
        hang.wait()
        return []

    queue = await service.job_service.queue()
    for name in ("cases", "activity"):
        monkeypatch.setattr(service.trace_service, name, wait)
    monkeypatch.setattr(queue.store, "jobs", wait)
    app = create_app(service)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        requests = [asyncio.create_task(http.request(method, path)) for _ in range(40)]
        for _ in range(32):
            assert await asyncio.to_thread(arrived.acquire, timeout=10)
        hang.set()
        assert [response.status_code for response in await asyncio.gather(*requests)] == [200] * 40
    await service.close()
