from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from rerankd.errors import UnavailableError
from rerankd.retrieval.chat import ChatError, ChatModel, ChatOptions

STREAM = b'data: {"choices": [{"delta": {"content": "yes"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
MESSAGES = [{"role": "user", "content": "q"}]


async def answer_of(respond: Callable[[httpx.Request], httpx.Response], pauses: list[float]) -> str:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    model = ChatModel(ChatOptions("http://llm/v1", "m"), transport=httpx.MockTransport(respond), sleep=sleep)
    try:
        return "".join([delta async for delta in model.stream(MESSAGES)])
    finally:
        await model.close()


async def test_a_busy_model_is_asked_again_after_a_pause() -> None:
    pauses: list[float] = []
    statuses = iter([503, 429])

    def respond(request: httpx.Request) -> httpx.Response:
        status = next(statuses, 200)
        headers = {"retry-after": "9"} if status == 429 else {}
        return httpx.Response(status, content=STREAM if status == 200 else b"", headers=headers)

    assert await answer_of(respond, pauses) == "yes"
    assert len(pauses) == 2
    assert 0 < pauses[0] < 9
    assert pauses[1] == 9.0


async def test_a_model_that_stays_busy_is_unavailable() -> None:
    pauses: list[float] = []
    with pytest.raises(UnavailableError, match="503"):
        await answer_of(lambda request: httpx.Response(503), pauses)
    assert len(pauses) == 2


async def test_a_refusal_is_not_repeated() -> None:
    pauses: list[float] = []
    with pytest.raises(ChatError, match="llm_api_key"):
        await answer_of(lambda request: httpx.Response(401), pauses)
    assert pauses == []
