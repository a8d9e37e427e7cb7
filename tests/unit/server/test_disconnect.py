from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from rerankd.errors import RequestCancelledError
from rerankd.server.disconnect import cancel_on_disconnect


def http_request(disconnected: asyncio.Event) -> Request:
    async def receive() -> dict[str, Any]:
        await disconnected.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": []}, receive)


async def test_work_is_cancelled_when_the_client_disconnects() -> None:
    disconnected, outcomes = asyncio.Event(), list[str]()

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            outcomes.append("ended")

    asyncio.get_running_loop().call_later(0.01, disconnected.set)
    with pytest.raises(RequestCancelledError):
        async with cancel_on_disconnect(http_request(disconnected)):
            await work()
    assert outcomes == ["ended"]
    await asyncio.sleep(0)  # the task itself goes on


async def test_a_result_and_an_error_pass() -> None:
    async with cancel_on_disconnect(http_request(asyncio.Event())):
        result = await asyncio.sleep(0, 7)
    assert result == 7
    with pytest.raises(ValueError, match="broken"):
        async with cancel_on_disconnect(http_request(asyncio.Event())):
            raise ValueError("broken")


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def work() -> None:
        async with cancel_on_disconnect(http_request(asyncio.Event())):
            await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_inner_timeout_stays_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with cancel_on_disconnect(http_request(asyncio.Event())), asyncio.timeout(0.01):
            await asyncio.sleep(10)
