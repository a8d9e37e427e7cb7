"""The MCP server as a web application of its own, in front of a service that runs elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.routing import Route

from rerankd.mcp.backend import Backend
from rerankd.mcp.server import McpServer

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
MAX_BODY = 32_000_000


def front_app(backend: Backend, path: str, hosts: Collection[str], origins: Collection[str]) -> Starlette:
    """Return the application.

    Requests for other hosts than this machine's and those that are named are refused, and so are those that a web page
    of another origin sends: else a page could reach the service through the browser (DNS rebinding).

    Args:
        backend: the service; it is closed with the application.
        path: path of the MCP server.
        hosts: names that it is reached by besides those of this machine, with or without port.
        origins: web origins that may call it.
    """
    allowed = [name for host in (*LOOPBACK, *hosts) for name in (host, f"{host}:*")]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True, allowed_hosts=allowed, allowed_origins=list(origins)
    )
    manager = StreamableHTTPSessionManager(
        app=McpServer(lambda _: backend).build(),
        json_response=True,
        stateless=True,
        security_settings=security,
        max_request_body_size=MAX_BODY,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with manager.run():
            yield
        await backend.close()

    return Starlette(routes=[Route(path, StreamableHTTPASGIApp(manager), methods=["POST"])], lifespan=lifespan)
