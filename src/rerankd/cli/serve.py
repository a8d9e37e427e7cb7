"""`rerankd serve` and `rerankd config show`."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table
from rich.text import Text

from rerankd._common.urls import masked_urls
from rerankd.cli.options import Config, Json, say_sources, setting_flags
from rerankd.cli.output import cell, stderr, stdout, wants_json, write_rows
from rerankd.models.reference import parse_reference
from rerankd.settings import Settings, describe_sources, load_settings

if TYPE_CHECKING:
    from rerankd.server.service import Service

config_app = typer.Typer(help="Show the effective settings.", no_args_is_help=True)
SECRET = frozenset(
    [
        "api_keys",
        "console_secret",
        "embedding_api_key",
        "external",
        "gate_key",
        "llm_api_key",
        "metrics_keys",
        "milvus_token",
        "otel_endpoint",
        "queue_url",
        "redis_url",
        "registry",
        "traces_url",
        "webhook_secret",
    ]
)


@setting_flags(*(name for name in Settings.model_fields if name != "top_n"))
def serve(config: Config = None, **flags: Any) -> None:
    """Serve models over HTTP, compatible with the common rerank APIs.

    Every flag is also an environment variable, RERANKD_NAME, and a key in rerankd.toml; lists and tables are JSON.
    """
    settings = load_settings(config, **flags)
    from rerankd.console.app import console_routers
    from rerankd.server.observability import logs
    from rerankd.server.run import serve_forever
    from rerankd.server.service import open_service

    logs.configure(settings.log_format, settings.log_level)
    say_sources(config)
    service = open_service(settings)
    for name in (settings.model, *settings.preload):  # a wrong path ends the program before the port opens
        if name not in settings.embedding_models:
            parse_reference(service.pool.reference(service.pool.resolve(name)))
    for reference in settings.embedding_models.values():
        parse_reference(reference)
    listener, address = listen_at(settings)
    for name, path in _shown_paths(settings):
        stderr().print(f"{name:8} {address}{path}", highlight=False, soft_wrap=True)
    warn_of_open_port(service)
    serve_forever(service, listener, console_routers(service) if settings.console else ())


def listen_at(settings: Settings) -> tuple[socket.socket, str]:
    """Open the port of the settings; return it with the address at which this machine reaches it.

    Raises:
        InvalidRequestError: it is taken, or the host is not an address of this machine.
    """
    from rerankd.server.run import listen

    listener = listen(settings.host, settings.port)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    reachable = {"0.0.0.0": "localhost", "[::]": "localhost"}.get(host, host)  # noqa: S104  compared, not bound
    return listener, f"http://{reachable}:{listener.getsockname()[1]}"


def warn_of_open_port(service: Service) -> None:
    """Warn if others than this machine can reach a service that asks for no key."""
    if service.keys.required or is_loopback(service.settings.host):
        return
    stderr().print(
        Text("WARNING: no API key is set, so anyone who can reach this port can use the service.", style="bold red"),
        "Create a key with `rerankd keys add NAME`, or listen on 127.0.0.1.",
        soft_wrap=True,
    )


def _shown_paths(settings: Settings) -> list[tuple[str, str]]:
    console = [("console", "/console")] if settings.console else []
    return [("API", "/v1/rerank"), ("docs", "/docs"), *console, ("metrics", "/metrics")]


def is_loopback(host: str) -> bool:
    """Return True if an address is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@config_app.command()
def show(config: Config = None, as_json: Json = False) -> None:
    """Show every setting with its value and the source of the value."""
    rows = [
        {"name": name, "value": _hidden(name, value), "source": source}
        for name, value, source in describe_sources(config)
    ]
    if wants_json(as_json):
        write_rows(rows)
        return
    table = Table("setting", "value", "source")
    for row in rows:
        table.add_row(row["name"], cell(str(row["value"])), cell(row["source"]))
    stdout().print(table)


def _hidden(name: str, value: Any) -> Any:
    return "(hidden)" if name in SECRET and value else _without_secrets(value)


def _without_secrets(value: Any) -> Any:
    """Return a value whose texts, also those in lists and tables, show no password of a URL."""
    if isinstance(value, str):
        return masked_urls(value)
    if isinstance(value, dict):
        return {name: _without_secrets(item) for name, item in value.items()}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value
