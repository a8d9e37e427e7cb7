"""uvicorn's HTTP protocols with limits that they lack: size and time of request heads, connections of one address."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from rerankd._common.optional import installed

MAX_HEAD = 64 * 1024


def _refusal(status: str, code: str, message: str) -> bytes:
    error = {"message": message, "type": code, "param": None, "code": code}
    body = json.dumps({"error": error, "detail": message, "message": message, "id": ""}).encode()
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
    )
    return head.encode() + (b"retry-after: 1\r\n" if status.startswith("503") else b"") + b"\r\n" + body


MALFORMED = _refusal("400 Bad Request", "invalid_request", "This is not a valid HTTP/1.1 request.")
TOO_LARGE_HEAD = _refusal("431 Request Header Fields Too Large", "too_large", "The headers are too large.")
SLOW_HEAD = _refusal("408 Request Timeout", "head_timeout", "The headers did not arrive in time. Send them at once.")
TOO_MANY_CONNECTIONS = _refusal(
    "503 Service Unavailable", "too_many_connections", "This address has too many connections. Reuse them."
)


class ConnectionLimits:
    """Limits that the connections of a server share.

    Args:
        head_seconds: time limit for a request head, from the start of the connection or from its first byte.
        per_address: connections of one address at most; 0 for no limit.

    Example:
        >>> limits = ConnectionLimits(10.0, per_address=1)
        >>> limits.enter("10.0.0.7"), limits.enter("10.0.0.7"), limits.enter("10.0.0.8")
        (True, False, True)
    """

    def __init__(self, head_seconds: float, per_address: int) -> None:
        self.head_seconds = head_seconds
        self._per_address = per_address
        self._connections: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count a connection; False if the address has as many as it may."""
        if self._per_address and self._connections[address] >= self._per_address:
            return False
        self._connections[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Count a connection as closed."""
        self._connections[address] -= 1
        if self._connections[address] <= 0:
            del self._connections[address]


if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as _Protocol
else:
    _Protocol = object


class LimitedProtocol(_Protocol):
    """Mixin for a protocol of uvicorn: closes connections that exceed a limit, with an answer that says why."""

    limits: ConnectionLimits
    _address: str | None = None
    _head_timer: asyncio.TimerHandle | None = None

    @property
    def head_pending(self) -> bool:
        """True if a part of a request head has arrived."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse the connection if its address has too many; else wait for a request head."""
        super().connection_made(transport)
        address = self.client[0] if self.client else ""  # a Unix socket has no address
        if address and not self.limits.enter(address):
            self._refuse(TOO_MANY_CONNECTIONS)
            return
        self._address = address
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection as closed."""
        self._stop_timer()
        if self._address:
            self.limits.leave(self._address)
            self._address = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request; start the timer with the first part of a head, stop it with the last."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if not self.head_pending:
            self._stop_timer()
        elif self._head_timer is None:
            self._start_timer()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser cannot read, in JSON as all errors."""
        self._refuse(MALFORMED)

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.head_seconds, self._head_timed_out)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_timed_out(self) -> None:
        self._head_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._start_timer()  # an earlier request of the connection is being answered
        else:
            self._refuse(SLOW_HEAD)

    def _refuse(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


def http_protocol(limits: ConnectionLimits) -> Any:
    """Return uvicorn's protocol over the fast parser, with limits; over h11 where that parser is not installed.

    Args:
        limits: limits that all connections share.
    """
    return _httptools_protocol(limits) if installed("httptools") else _h11_protocol(limits)


def _httptools_protocol(limits: ConnectionLimits) -> Any:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class LimitedHttpTools(LimitedProtocol, HttpToolsProtocol):
        """Protocol over httptools, which has no limit on the request head."""

        _in_head, _head = False, 0

        @property
        def head_pending(self) -> bool:
            return self._in_head

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._in_head, self._head = True, 0

        def on_headers_complete(self) -> None:
            self._in_head = False
            super().on_headers_complete()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._in_head:
                self._head += len(data)
                if self._head > MAX_HEAD:
                    self._refuse(TOO_LARGE_HEAD)

    LimitedHttpTools.limits = limits
    return LimitedHttpTools


def _h11_protocol(limits: ConnectionLimits) -> Any:
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class LimitedH11(LimitedProtocol, H11Protocol):  # type: ignore[misc]  # both have the attributes of the mixin
        """Protocol over h11, whose own limit on the request head is a setting of uvicorn."""

        @property
        def head_pending(self) -> bool:
            return self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])

    LimitedH11.limits = limits
    return LimitedH11
