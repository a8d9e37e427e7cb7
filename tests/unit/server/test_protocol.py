"""Limits on request heads and connections, over both parsers, on a real port."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from rerankd.server.protocol import MAX_HEAD, ConnectionLimits, _h11_protocol, _httptools_protocol
from rerankd.server.run import listen

pytestmark = pytest.mark.slow

HEAD = b"GET /path HTTP/1.1\r\nhost: test\r\n"
PARSERS = [_httptools_protocol, _h11_protocol]


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def served(protocol: Any) -> Iterator[int]:
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(app, http=protocol, lifespan="off", log_config=None, timeout_keep_alive=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


async def answer(port: int, *parts: bytes) -> bytes:
    """Send parts of a request; return all that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    content = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return content


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    "parts",
    [(), (b"G",), (HEAD,), (HEAD, b"x-a: b\r\n"), (HEAD + b"\r\n", HEAD), (b"POST /path HTTP/1.1\r\ncontent-le",)],
    ids=["nothing", "a byte", "half a head", "slow", "the second request", "half a line"],
)
async def test_a_head_that_does_not_arrive_is_given_up(parser: Any, parts: tuple[bytes, ...]) -> None:
    with served(parser(ConnectionLimits(0.2, 0))) as port:
        content = await answer(port, *parts)
    follows_another = len(parts) > 1 and parts[0].endswith(b"\r\n\r\n")
    assert content.count(b"200 OK") == int(follows_another)
    assert b"408 Request Timeout" in content or follows_another  # what comes too early ends as an idle connection


@pytest.mark.parametrize("parser", PARSERS)
async def test_whole_requests_on_a_kept_connection_have_no_limit(parser: Any) -> None:
    with served(parser(ConnectionLimits(0.2, 0))) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        loop = asyncio.get_running_loop()
        started, answers = loop.time(), 0
        while loop.time() - started < 0.6:
            writer.write(HEAD + b"\r\n")
            await writer.drain()
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
            answers += 1
        writer.close()
    assert answers > 1


@pytest.mark.parametrize("parser", PARSERS)
async def test_an_address_has_a_limited_number_of_connections(parser: Any) -> None:
    limits = ConnectionLimits(30.0, 3)
    with served(parser(limits)) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for _, writer in held:
            writer.write(HEAD)
            await writer.drain()
        refused = await answer(port)
        assert b"503 Service Unavailable" in refused
        assert b"too_many_connections" in refused
        assert b"retry-after: 1" in refused
        reader, writer = held.pop()
        writer.write(b"connection: close\r\n\r\n")
        assert b"200 OK" in await reader.read()
        writer.close()
        async with httpx.AsyncClient(trust_env=False) as http:  # its place is free again
            assert (await http.get(f"http://127.0.0.1:{port}/path")).status_code == 200
        for _, writer in held:
            writer.close()


async def test_a_head_that_is_too_large_is_refused() -> None:
    with served(_httptools_protocol(ConnectionLimits(30.0, 0))) as port:
        assert b"431 " in await answer(port, HEAD, b"x-a: " + b"b" * MAX_HEAD)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        HEAD + b"x-a: b\x00c\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_answered_in_json(parser: Any, request_bytes: bytes) -> None:
    with served(parser(ConnectionLimits(5, 0))) as port:
        head, _, body = (await answer(port, request_bytes)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert json.loads(body)["error"]["code"] == "invalid_request"
