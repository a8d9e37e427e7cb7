"""Minimal HTTP/1.1 client for the loopback interface: POST requests as bytes, and the needed parts of responses."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

MAX_HEAD_BYTES = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)\r", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after:\s*(\d+)\r", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked\r", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:\s*close\r", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """Address that requests are sent to."""

    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Target:
        """Parse a URL.

        Raises:
            ValueError: it is not plain HTTP to the loopback interface.
        """
        parts = urlsplit(url)
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if parts.scheme != "http" or not loopback:
            raise ValueError(f"{url!r} is not on this machine; load is sent to http://127.0.0.1 only.")
        return cls(host, parts.port or 80, parts.path or "/")

    def request(self, body: bytes) -> bytes:
        """Return a POST request as bytes."""
        head = f"POST {self.path} HTTP/1.1\r\nhost: {self.host}\r\ncontent-type: application/json\r\n"
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


@dataclass(frozen=True, slots=True)
class Response:
    """The parts of a response that are kept; `size` counts the bytes of head and body."""

    status: int
    retry_after: int | None
    size: int
    close: bool


def parse_response(data: bytes | bytearray) -> Response | None:
    """Parse a response; return None while it is incomplete.

    Raises:
        ValueError: it is not HTTP/1.1, or neither its length nor chunks say where it ends.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > MAX_HEAD_BYTES:
            raise ValueError("The head of the answer does not end.")
        return None
    head, end = bytes(data[: end + 2]), end + 4
    length = _LENGTH.search(head)
    if not head.startswith(b"HTTP/1.1 ") or not (length or _CHUNKED.search(head)):
        raise ValueError(f"Not an HTTP/1.1 answer whose end is known: {head[:200]!r}.")
    size = end + int(length[1]) if length else _chunks_end(data, end)
    if size is None or len(data) < size:
        return None
    after = _RETRY_AFTER.search(head)
    return Response(int(head[9:12]), int(after[1]) if after else None, size, _CLOSE.search(head) is not None)


def _chunks_end(data: bytes | bytearray, position: int) -> int | None:
    """Return the end of a chunked body, or None while it is incomplete."""
    while (line := data.find(b"\r\n", position)) >= 0:
        size = int(bytes(data[position:line]).partition(b";")[0], 16)
        position = line + 2 + size + 2
        if size == 0:
            return position
    return None


class Connection(asyncio.Protocol):
    """A connection with one request in flight at a time."""

    def __init__(self) -> None:
        self.open = True
        self._transport: Any = None
        self._data = bytearray()
        self._waiter: asyncio.Future[Response] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request in flight."""
        self.open = False
        self._fail(ConnectionError("The server closed the connection."))

    def data_received(self, data: bytes) -> None:
        """Add received bytes and complete the request once its response is whole."""
        self._data += data
        try:
            response = parse_response(self._data)
        except ValueError as error:
            self._fail(error)
            self.close()
            return
        if response is None:
            return
        self._data.clear()
        self.open = not response.close
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(response)

    def post(self, data: bytes) -> asyncio.Future[Response]:
        """Send a request and return its response."""
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return self._waiter

    def close(self) -> None:
        """Close the connection."""
        self.open = False
        self._transport.close()

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
