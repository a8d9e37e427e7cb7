"""Server process: uvicorn around the application, with a graceful shutdown."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from types import FrameType
from typing import Any

import uvicorn

from rerankd._common.logging import logger
from rerankd._common.optional import installed
from rerankd.errors import InvalidRequestError
from rerankd.server.app import create_app
from rerankd.server.browser_guard import is_loopback
from rerankd.server.service import Service

_log = logger(__name__)
ACCEPT_SECONDS = 0.05  # for connections that the closed port had accepted
LAST_CALL_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 30
MAX_HEAD = 64 * 1024
_TEXT = b'{"error":{"message":"The headers are too large.","type":"too_large","param":null,"code":"too_large"}}'
TOO_LARGE_HEAD = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_TEXT), _TEXT)
)


class Server(uvicorn.Server):
    """uvicorn with graceful shutdown: readiness fails first, the port closes later, accepted requests finish."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        service.end = self._end

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, exit at the second. A requested exit is not a failure: status 0."""
        if self._service.draining:
            self.force_exit = self.should_exit = True
            return
        self._service.draining = True
        _log.info("draining")
        wait = self._service.settings.drain_seconds if sig != signal.SIGINT else 0.0
        threading.Timer(wait, self._end).start() if wait else self._end()

    def _end(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let requests on open connections arrive, then close."""
        self._service.draining = True
        for server in getattr(self, "servers", []):
            server.close()
        for listener in sockets or []:
            listener.close()
        await asyncio.sleep(ACCEPT_SECONDS)
        if self.server_state.connections:
            # A request may be on the wire already, on a connection that looks idle.
            await asyncio.sleep(LAST_CALL_SECONDS)
        await super().shutdown(sockets)


def http_protocol() -> Any:
    """Return uvicorn's fast parser with a limit on the request head, which it lacks; without it h11, which has one."""
    if not installed("httptools"):
        return "h11"
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class LimitedProtocol(HttpToolsProtocol):
        """Parser that closes connections whose request head exceeds the limit."""

        _head = 0

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._in_head, self._head = True, 0

        def on_headers_complete(self) -> None:
            self._in_head = False
            super().on_headers_complete()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if getattr(self, "_in_head", False):
                self._head += len(data)
                if self._head > MAX_HEAD and not self.transport.is_closing():
                    self.transport.write(TOO_LARGE_HEAD)
                    self.transport.close()

    return LimitedProtocol


def listen(host: str, port: int) -> socket.socket:
    """Open the port.

    Raises:
        InvalidRequestError: it is taken, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InvalidRequestError(
            f"Cannot listen on {host}:{port} ({error.strerror or error}).", hint="Choose another --host or --port."
        ) from error
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def serve_forever(service: Service, listener: socket.socket) -> None:
    """Serve until a signal ends the process.

    Raises:
        ModelError: a model that should be there from the start cannot be loaded.
    """
    settings = service.settings
    config = uvicorn.Config(
        create_app(service, is_local=is_loopback(settings.host)),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.shutdown_seconds) or 1,
        http=http_protocol(),
        h11_max_incomplete_event_size=MAX_HEAD,
    )
    server = Server(config, service)
    server.run(sockets=[listener])
    if service.failure is not None:
        raise service.failure
