"""`rerankd mcp`: tools for agents over the Model Context Protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rerankd._common.optional import require
from rerankd.cli.options import Config, setting_flags
from rerankd.cli.output import stderr
from rerankd.cli.serve import is_loopback, listen_at, warn_of_open_port
from rerankd.errors import InvalidRequestError
from rerankd.settings import Settings, load_settings

if TYPE_CHECKING:
    from rerankd.mcp.backend import Backend

LOCAL_URL = "http://localhost"  # of the service in this process; nothing is sent over the network
# What a program of one user does without: keys, the console, traces, jobs and what they are shared through.
ALONE: dict[str, Any] = {
    "api_keys": [],
    "api_keys_file": None,
    "console": False,
    "traces": False,
    "redis_url": None,
    "queue_url": None,
    "preload": [],
    "mcp": False,
}
FLAGS = (
    *("model", "instruction", "rules", "index", "top_n", "search_threshold", "llm_url", "llm_model"),
    *("host", "port", "allowed_hosts", "log_format", "log_level"),
)


@setting_flags(*FLAGS)
def mcp(
    url: Annotated[
        str | None,
        typer.Option("--url", help="Address of a running service to call, with the key in RERANKD_API_KEY."),
    ] = None,
    http: Annotated[
        bool, typer.Option("--http", help="Listen on --host and --port, at /mcp, instead of standard input and output.")
    ] = False,
    config: Config = None,
    **flags: Any,
) -> None:
    """Serve the tools rerank, search and ask to agents (MCP), over the local index or a running service."""
    settings = load_settings(config, **flags)
    require("mcp.server", "mcp", "The MCP server")
    from rerankd.server.observability import logs

    logs.configure(settings.log_format, settings.log_level)
    if not http:
        asyncio.run(_serve_stdio(settings, url))
    elif url is None:
        _serve_alone(settings)
    else:
        _serve_front(settings, url)


async def _serve_stdio(settings: Settings, url: str | None) -> None:
    """Serve one client on standard input and output; what else is printed goes to standard error."""
    from mcp.server.stdio import stdio_server

    from rerankd.mcp.server import McpServer

    async with stdio_server() as (incoming, outgoing), _opened(settings, url) as backend:
        server = McpServer(lambda _: backend).build()
        await server.run(incoming, outgoing, server.create_initialization_options())


@asynccontextmanager
async def _opened(settings: Settings, url: str | None) -> AsyncIterator[Backend]:
    """Open the service at a URL, or one in this process whose model is loaded by the first call."""
    from rerankd.mcp.backend import Backend

    if url is not None:
        backend = Backend(url, None)
        try:
            yield backend
        finally:
            await backend.close()
        return
    import httpx

    from rerankd.server.app import create_app
    from rerankd.server.service import open_service

    app = create_app(open_service(settings.model_copy(update=ALONE), pages_only=True), is_local=True)
    async with app.router.lifespan_context(app):
        backend = Backend(LOCAL_URL, "", None, httpx.ASGITransport(app, raise_app_exceptions=False))
        try:
            yield backend
        finally:
            await backend.close()


def _serve_alone(settings: Settings) -> None:
    """Serve the local index over HTTP: a service with `/mcp`, as `rerankd serve --mcp`, without what one user needs."""
    from rerankd.server.run import serve_forever
    from rerankd.server.service import open_service

    kept = ("api_keys", "api_keys_file", "redis_url")  # whoever has set keys means them
    alone = {name: value for name, value in ALONE.items() if name not in kept}
    service = open_service(settings.model_copy(update={**alone, "mcp": True}))
    listener, address = listen_at(settings)
    stderr().print(f"MCP      {address}/mcp", highlight=False, soft_wrap=True)
    warn_of_open_port(service)
    serve_forever(service, listener)


def _serve_front(settings: Settings, url: str) -> None:
    """Serve a running service's tools over HTTP; callers may send keys of their own.

    Raises:
        InvalidRequestError: others than this machine could use the key of this program.
    """
    import os

    import uvicorn

    from rerankd.mcp.backend import Backend
    from rerankd.mcp.front import front_app
    from rerankd.server.paths import MCP

    if os.environ.get("RERANKD_API_KEY") and not is_loopback(settings.host):
        raise InvalidRequestError(
            f"Anyone who reaches {settings.host} could use the key in RERANKD_API_KEY.",
            hint="Listen on 127.0.0.1, or unset it and let callers send keys of their own.",
        )
    app = front_app(Backend(url, None), MCP, settings.allowed_hosts, settings.cors_origins)
    listener, address = listen_at(settings)
    stderr().print(f"MCP      {address}{MCP}", highlight=False, soft_wrap=True)
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])
