"""`rerankd serve` and `rerankd config show`. Flags are made from the settings, so that there is one list of them."""

from __future__ import annotations

import inspect
import ipaddress
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo
from rich.table import Table

from rerankd.cli.options import Json
from rerankd.cli.output import cell, stderr, stdout, wants_json, write_rows
from rerankd.settings import Settings, describe_sources, load_settings

config = typer.Typer(help="See the settings that are in force.", no_args_is_help=True)
SECRET = frozenset(
    [
        "api_keys",
        "embedding_api_key",
        "external",
        "gate_key",
        "llm_api_key",
        "milvus_token",
        "otel_endpoint",
        "queue_url",
        "redis_url",
        "registry",
        "traces_url",
        "webhook_secret",
    ]
)


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    """A command line flag for a setting; it is text, and checked where all settings are."""
    flag = f"--{name.replace('_', '-')}"
    short = {"model": ["-m"]}.get(name, [])
    kind: Any = str | None
    if field.annotation is bool:
        option = typer.Option(f"{flag}/--no-{name.replace('_', '-')}", help=field.description)
        kind = bool | None
    else:
        option = typer.Option(flag, *short, help=f"{field.description}.", show_default=False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])


def with_settings(names: Iterable[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for each named setting."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
        made = [_flag(name, Settings.model_fields[name]) for name in names]
        command.__signature__ = inspect.Signature([*own, *made])  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in [*own, *made]}
        return command

    return decorate


@with_settings(name for name in Settings.model_fields if name != "top_n")
def serve(**flags: Any) -> None:
    """Serve models over HTTP, in the words of every rerank client.

    Every flag is also an environment variable, RERANKD_NAME, and a key in rerankd.toml; lists and tables are JSON.
    """
    settings = load_settings(**flags)
    from rerankd.server.observability import logs
    from rerankd.server.run import listen, run
    from rerankd.server.service import open_service

    logs.configure(settings.log_format, settings.log_level)
    service = open_service(settings)
    listener = listen(settings.host, settings.port)
    port = listener.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    shown = {"0.0.0.0": "localhost", "[::]": "localhost"}.get(host, host)  # noqa: S104  compared, not bound
    for name, path in (("API", "/v1/rerank"), ("docs", "/docs"), ("metrics", "/metrics")):
        stderr().print(f"{name:8} http://{shown}:{port}{path}", highlight=False, soft_wrap=True)
    if not service.keys.required and not is_loopback(settings.host):
        stderr().print(
            "[bold red]WARNING: anyone who reaches this port can use the service: no API key is set.[/] "
            "Make one with `rerankd keys add NAME`, or listen on 127.0.0.1.",
            soft_wrap=True,
        )
    run(service, listener)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, reached from nowhere else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@config.command()
def show(as_json: Json = False) -> None:
    """Every setting, its value, and where the value came from."""
    rows = [
        {"name": name, "value": _hidden(name, value), "source": source} for name, value, source in describe_sources()
    ]
    if wants_json(as_json):
        write_rows(rows)
        return
    table = Table("setting", "value", "from")
    for row in rows:
        table.add_row(row["name"], cell(str(row["value"])), cell(row["source"]))
    stdout().print(table)


def _hidden(name: str, value: Any) -> Any:
    return "(hidden)" if name in SECRET and value else value
