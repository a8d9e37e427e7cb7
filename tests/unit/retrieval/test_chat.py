from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from rerankd.errors import MissingDependencyError, UnavailableError
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


JSON_ANSWER = {"choices": [{"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "the context is too long", "code": 1}},
        {"error": "the context is too long"},
        {"message": "the context is too long", "object": "error"},
        {"detail": [{"msg": "the context is too long"}]},
        [{"error": {"message": "the context is\n too long"}}],
        "the context is too long",
    ],
)
@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_refusal_gives_its_reason(body: object, status: int) -> None:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    with pytest.raises(ChatError, match=rf"refuses the request \({status}: the context is too long\)"):
        await answer_of(lambda request: httpx.Response(status, content=content), [])


async def test_a_page_of_a_proxy_is_no_reason() -> None:
    with pytest.raises(ChatError, match=r"refuses the request \(404\)\. Check llm_url"):
        await answer_of(lambda request: httpx.Response(404, content=b"<html>Not found</html>"), [])


async def test_parameters_are_changed_as_the_model_asks_for() -> None:
    bodies: list[dict[str, Any]] = []

    def respond(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        bodies.append(body)
        for name, message in (
            ("max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
            ("temperature", "Unsupported value: 'temperature' does not support 0 with this model."),
        ):
            if name in body:
                return httpx.Response(400, json={"error": {"message": message, "param": name}})
        return httpx.Response(200, content=STREAM)

    assert await answer_of(respond, []) == "yes"
    assert [sorted(body.keys() - {"model", "messages", "stream"}) for body in bodies] == [
        ["max_tokens", "temperature"],
        ["max_completion_tokens", "temperature"],
        ["max_completion_tokens"],
    ]
    assert bodies[-1]["max_completion_tokens"] == 1024


async def test_a_parameter_that_is_refused_again_ends_it() -> None:
    refusal = {"error": {"message": "max_completion_tokens is too large"}}
    with pytest.raises(ChatError, match="max_completion_tokens is too large"):
        await answer_of(lambda request: httpx.Response(400, json=refusal), [])


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (json.dumps(JSON_ANSWER).encode(), "application/json"),
        (json.dumps(JSON_ANSWER).encode(), "application/json; charset=utf-8"),
        (STREAM.replace(b"\n", b"\r\n"), "text/event-stream"),
        (STREAM.replace(b"\n", b"\r"), "text/event-stream"),
        (STREAM.removesuffix(b"\n\n"), "text/event-stream"),
        (b": ping\n\nevent: message\n" + STREAM, "text/event-stream"),
        (
            b'data: {"choices": [{"delta": {"content": [{"type": "text", "text": "yes"}]}}]}\n\ndata: [DONE]',
            "text/plain",
        ),
    ],
)
async def test_answers_of_every_form(content: bytes, kind: str) -> None:
    respond = lambda request: httpx.Response(200, content=content, headers={"content-type": kind})  # noqa: E731
    assert await answer_of(respond, []) == "yes"


@pytest.mark.parametrize("separator", "\u2028\u2029\x85\x0b")
async def test_a_separator_inside_a_text_ends_no_event(separator: str) -> None:
    event = json.dumps({"choices": [{"delta": {"content": f"a{separator}b"}}]}, ensure_ascii=False)
    event = event.replace("\\u000b", "\x0b") if separator != "\x0b" else event
    content = f"data: {event}\n\ndata: [DONE]\n\n".encode()
    assert await answer_of(lambda request: httpx.Response(200, content=content), []) == f"a{separator}b"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"error": {"message": "out of memory"}}', "application/json"),
        (b'data: {"error": {"message": "out of memory"}}\n\n', "text/event-stream"),
        (b'data: {"error": "out of memory"}\n\n', "text/event-stream"),
    ],
)
async def test_an_error_behind_status_200_is_named(content: bytes, kind: str) -> None:
    respond = lambda request: httpx.Response(200, content=content, headers={"content-type": kind})  # noqa: E731
    with pytest.raises(UnavailableError, match="out of memory"):
        await answer_of(respond, [])


async def test_a_socks_proxy_is_named_and_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setattr("rerankd._common.proxies.installed", lambda module: False)
    with pytest.raises(MissingDependencyError, match="pip install socksio"):
        ChatModel(ChatOptions("https://llm.example/v1", "m"))
    await ChatModel(ChatOptions("http://localhost:11434/v1", "m")).close()
