"""`rerankd deploy`: configuration of the load balancer in front of several instances, from the service's settings."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from rerankd._common.files import writable
from rerankd.cli.output import stderr
from rerankd.server.nginx.config import render
from rerankd.server.nginx.options import NginxOptions, Rate, ServiceLimits
from rerankd.settings import Settings, load_settings

app = typer.Typer(help="Write configuration for deploying the service.", no_args_is_help=True)
AbsolutePath = Annotated[
    str | None, typer.Option(metavar="PATH", help="Absolute path on the machine where nginx runs.")
]


@app.callback()
def _root() -> None:
    """Write configuration for deploying the service."""


@app.command()
def nginx(
    instances: Annotated[str, typer.Option(metavar="HOST:PORT,...", help="Addresses of the instances.")],
    listen: Annotated[
        str | None,
        typer.Option(metavar="[ADDRESS:]PORT", help="Address nginx listens on.  [default: 80; 443 with TLS]"),
    ] = None,
    server_name: Annotated[str, typer.Option(metavar="NAME,...", help="Host names of the site; empty for any.")] = "",
    tls_cert: AbsolutePath = None,
    tls_key: AbsolutePath = None,
    rate: Annotated[
        str | None, typer.Option(metavar="N/m", help="Rate limit per API key, such as 600/m or 10/s.  [default: none]")
    ] = None,
    address_rate: Annotated[
        str | None, typer.Option(metavar="N/m", help="Rate limit per client address.  [default: 10 x rate]")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(min=0, max=1_000_000, help="Burst per API key.  [default: the requests of 10 seconds]")
    ] = None,
    connections: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Connections per client address.  [default: no limit]")
    ] = None,
    folder: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Folder for process id, logs and temporary files, to run without root."),
    ] = None,
    logs: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder for logs.  [default: --folder, else /var/log/nginx]")
    ] = None,
    user: Annotated[str | None, typer.Option(help="User that nginx runs as.")] = None,
    read_timeout: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=86_400,
            help="Seconds to wait for an instance, for language models that think long.  [default: from the settings]",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write.  [default: standard output]", dir_okay=False)] = None,
) -> None:
    """Write an nginx.conf for several instances: load balancing, safe retries, rate limits, matching timeouts.

    The body limit and the timeouts are taken from the current settings (rerankd.toml, RERANKD_*): run it with the
    settings of the instances.
    """
    config = NginxOptions(
        instances=_split(instances),
        listen=listen or ("443" if tls_cert else "80"),
        server_names=_split(server_name),
        tls_cert=tls_cert,
        tls_key=tls_key,
        rate=Rate.parse(rate) if rate else None,
        address_rate=Rate.parse(address_rate, "--address-rate") if address_rate else None,
        burst=burst,
        connections=connections,
        folder=folder,
        logs=logs,
        user=user,
        read_timeout=read_timeout,
    )
    text = render(config, service_limits(load_settings()))
    if out is None:
        sys.stdout.write(text)
        return
    with writable(out, hint="Name another --out."):
        out.write_text(text, encoding="utf-8")
    stderr().print(f"Check it with: nginx -t -c {shlex.quote(str(out.resolve()))}", markup=False, soft_wrap=True)


def service_limits(settings: Settings) -> ServiceLimits:
    """Return the parts of the service that nginx has to match."""
    from rerankd.server.body_limiter import BODY_PAUSE_SECONDS
    from rerankd.server.middleware import REQUEST_ID
    from rerankd.server.routes.embeddings import EMBEDDING_PATHS
    from rerankd.server.routes.rerank import SCORING_PATHS
    from rerankd.server.run import KEEP_ALIVE_SECONDS

    return ServiceLimits(
        scoring_paths=(*SCORING_PATHS, *EMBEDDING_PATHS),
        request_id=REQUEST_ID.replace(r"\w", "A-Za-z0-9_"),
        max_body_bytes=int(settings.max_body_mb * 1_000_000),
        body_pause_seconds=BODY_PAUSE_SECONDS,
        max_queue_seconds=settings.max_queue_seconds,
        request_timeout=settings.request_timeout,
        keep_alive_seconds=KEEP_ALIVE_SECONDS,
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
