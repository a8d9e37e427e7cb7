"""Bodies without a length, with a wrong one, too large, or broken off."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.hostile.paths import POST_PATHS


def assert_refused(response: httpx.Response, *statuses: int) -> None:
    assert response.status_code in statuses, response.text[:500]
    body = response.json()
    assert list(body) == ["detail"] or body["detail"] == body["message"]  # Voyage's hold the detail only


def raw(url: str, head: str, rest: bytes = b"") -> tuple[int, bytes]:
    """Status and body of the first answer to a request as it is written."""
    target = httpx.URL(url)
    with socket.create_connection((target.host, target.port or 80), timeout=20) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + rest)
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            return response.status, response.read()


HEAD = "POST /v1/rerank HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"


@pytest.mark.parametrize("length", [33_000_000, 10**12, 10**18])
def test_a_huge_length_is_refused_before_the_body(length: int, server_url: str) -> None:
    status, body = raw(server_url, f"{HEAD}Content-Length: {length}\n\n")
    assert status == 413
    assert json.loads(body)["detail"]


@pytest.mark.parametrize("length", ["1" * 40, "-1", "ten", "1, 2", "0x10", "1_0"])
def test_a_length_that_is_no_length_is_refused(length: str, server_url: str) -> None:
    status, _ = raw(server_url, f"{HEAD}Content-Length: {length}\n\n", b'{"query')
    assert status in (400, 413)


def test_a_broken_chunk_is_refused(server_url: str) -> None:
    status, _ = raw(server_url, f"{HEAD}Transfer-Encoding: chunked\n\n", b"zz\r\nabc\r\n0\r\n\r\n")
    assert status == 400


def test_a_client_that_goes_away_harms_nobody(server_url: str) -> None:
    target = httpx.URL(server_url)
    for _ in range(5):
        with socket.create_connection((target.host, target.port or 80)) as connection:
            connection.sendall(f"{HEAD}Content-Length: 1000\n\n".replace("\n", "\r\n").encode() + b'{"query": "a"')


@pytest.mark.parametrize("path", POST_PATHS)
def test_a_body_over_the_limit_is_413(path: str, client: httpx.Client) -> None:
    content = b'{"query": "a", "documents": ["' + b"x" * 33_000_000 + b'"]}'
    assert_refused(client.post(path, content=content, headers={"Content-Type": "application/json"}), 413)


@pytest.mark.parametrize("path", ["/rerank", "/", "/score", "/voyage/v1/rerank"])
def test_a_chunked_body_over_the_limit_is_413(path: str, client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"query": "a", "documents": ["'
        for _ in range(33):
            yield b"x" * 2**20
        yield b'"]}'

    assert_refused(client.post(path, content=chunks(), headers={"Content-Type": "application/json"}), 413)


def test_a_body_under_the_limit_is_read(client: httpx.Client) -> None:
    content = b'{"query": "a", "documents": ["b"], "unknown": "' + b"x" * 31_000_000 + b'"}'
    assert client.post("/rerank", content=content).status_code == 200
