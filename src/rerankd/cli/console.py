"""`rerankd console`: the console alone, over a store of traces."""

from __future__ import annotations

import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from rerankd.cli.options import Config, say_sources, setting_flags
from rerankd.cli.output import say, stderr
from rerankd.cli.serve import listen_at, warn_of_open_port
from rerankd.errors import InvalidRequestError
from rerankd.settings import Settings, load_settings

# What a service computes, queues and cuts is no matter of the pages; all other settings are read from file and
# environment as `serve` reads them.
FLAGS = (
    "host", "port", "traces_url", "model", "models", "max_length", "threads", "rules", "index", "llm_url", "llm_model",
    "registry", "api_keys_file", "console_secret", "console_hours", "allowed_hosts", "trusted_proxies", "log_format",
    "log_level",
)  # fmt: skip


@setting_flags(*FLAGS)
def console(
    url: Annotated[str | None, typer.Option("--url", help="The same as --traces-url.")] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Show a store full of data, which is made for it and deleted afterwards.")
    ] = False,
    config: Config = None,
    **flags: Any,
) -> None:
    """Serve the console's pages alone, over the traces of other instances; models are loaded when a page needs them.

    All settings are read as `rerankd serve` reads them, from environment variables and rerankd.toml too.
    """
    if url is not None and flags.get("traces_url") not in (None, url):
        raise InvalidRequestError("--url and --traces-url differ.", hint="Give one of them.")
    flags["traces_url"] = url or flags.get("traces_url")
    if demo and flags["traces_url"]:
        raise InvalidRequestError("--demo makes a store of its own.", hint="Leave --url out.")
    settings = load_settings(config, **flags)
    with ExitStack() as stack:
        if demo:
            from rerankd.console.demo import seed_demo

            # Until the server handles it, SIGTERM would leave the folder behind.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rerankd-demo-"))
            settings = settings.model_copy(update=seed_demo(Path(folder), settings.threads, say))
        _serve(settings, config)


def _serve(settings: Settings, config: Path | None) -> None:
    from rerankd.console.app import console_routers
    from rerankd.server.observability import logs
    from rerankd.server.run import serve_forever
    from rerankd.server.service import open_service
    from rerankd.wiring.traces import traces_url

    logs.configure(settings.log_format, settings.log_level)
    say_sources(config)
    service = open_service(settings, pages_only=True)
    listener, address = listen_at(settings)
    shown = traces_url(settings).rpartition("@")[2]  # without a password
    stderr().print(f"{'traces':8} {shown}", markup=False, highlight=False, soft_wrap=True)
    stderr().print(f"{'console':8} {address}/console", highlight=False, soft_wrap=True)
    warn_of_open_port(service)
    serve_forever(service, listener, console_routers(service), api=False)
