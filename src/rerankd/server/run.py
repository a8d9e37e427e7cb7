"""Server process: uvicorn around the application, with a graceful shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Sequence
from types import FrameType

import uvicorn
from fastapi import APIRouter

from rerankd._common.logging import logger
from rerankd.errors import InvalidRequestError
from rerankd.server.app import create_app
from rerankd.server.browser_guard import is_loopback
from rerankd.server.garbage import keep_collections_short
from rerankd.server.protocol import MAX_HEAD, ConnectionLimits, http_protocol
from rerankd.server.service import Service

_log = logger(__name__)
ACCEPT_SECONDS = 0.05  # for connections that the closed port had accepted
LAST_CALL_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 30
MAX_FILES = 65_536


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


def stay_at_hangup(advice: str) -> None:
    """Log SIGHUP instead of ending at it, as a terminal that closes or `systemctl reload` sends it.

    Args:
        advice: sentence that says what takes effect without a restart.
    """
    if hasattr(signal, "SIGHUP"):  # not on Windows
        signal.signal(signal.SIGHUP, lambda *_: _log.info("SIGHUP is ignored. %s", advice))


def file_limit() -> int:
    """Raise the number of files and connections that this process may open to what the system allows it; return it."""
    try:
        import resource
    except ImportError:  # Windows
        return MAX_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    current = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_FILES if current == resource.RLIM_INFINITY else current


def serve_forever(
    service: Service, listener: socket.socket, pages: Sequence[APIRouter] = (), *, api: bool = True
) -> None:
    """Serve until a signal ends the process.

    Args:
        service: the instance.
        listener: open port.
        pages: routes of pages to serve besides the API.
        api: False to serve the pages alone.

    Raises:
        ModelError: a model that should be there from the start cannot be loaded.
    """
    settings, most = service.settings, file_limit() // 2
    connections = min(settings.max_connections or most, most)
    config = uvicorn.Config(
        create_app(service, is_local=is_loopback(settings.host), pages=pages, api=api),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.shutdown_seconds) or 1,
        http=http_protocol(ConnectionLimits(settings.head_seconds, connections)),
        h11_max_incomplete_event_size=MAX_HEAD,
    )
    stay_at_hangup("Changes of the key file and the rules take effect within a second; other settings need a restart.")
    keep_collections_short()
    server = Server(config, service)
    server.run(sockets=[listener])
    if service.failure is not None:
        raise service.failure
