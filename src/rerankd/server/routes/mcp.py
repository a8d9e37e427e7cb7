"""The MCP server at `/mcp` (streamable HTTP): its calls are requests to this service, with the caller's own key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
from fastapi import APIRouter, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rerankd._common.optional import require
from rerankd.server.paths import MCP
from rerankd.settings import Settings


class McpEndpoint:
    """The MCP server of one instance.

    It keeps no session: each message stands alone, so that instances behind a load balancer serve any of them. Host and
    origin are checked by `BrowserGuard`, as for every path.

    Args:
        app: application of the instance.
        settings: settings of the service.

    Raises:
        MissingDependencyError: the extra `mcp` is not installed.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        manager = require("mcp.server.streamable_http_manager", "mcp", "The MCP server")
        from rerankd.mcp.backend import Backend
        from rerankd.mcp.server import McpServer

        def backend(request: Request) -> Backend:
            """Return the service itself, for one caller: its address counts where no key is required."""
            client = (request.client.host, request.client.port) if request.client else ("", 0)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=client)
            return Backend(f"http://{request.headers.get('host') or 'localhost'}", "", None, transport)

        self._manager = manager.StreamableHTTPSessionManager(
            app=McpServer(backend).build(),
            json_response=True,
            stateless=True,
            max_request_body_size=int(settings.max_body_mb * 1_000_000),
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """Serve inside the `async with` statement."""
        running: AbstractAsyncContextManager[None] = self._manager.run()
        return running

    def router(self) -> APIRouter:
        """Return the route."""
        router = APIRouter(tags=["mcp"])
        router.add_api_route(MCP, self._respond, methods=["POST"], name="mcp", include_in_schema=False)
        return router

    async def _respond(self, request: Request) -> Response:
        """Answer one message of the protocol."""
        return _AsgiResponse(self._manager.handle_request)


class _AsgiResponse(Response):
    """Response that another ASGI application writes."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@asynccontextmanager
async def running(endpoint: McpEndpoint | None) -> AsyncIterator[None]:
    """Serve MCP inside the `async with` statement, where it is on."""
    if endpoint is None:
        yield
        return
    async with endpoint.running():
        yield
