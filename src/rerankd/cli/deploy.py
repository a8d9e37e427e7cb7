"""`rerankd deploy`: configuration of what stands in front of instances, made from the settings of the service."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from rerankd.cli.output import stderr
from rerankd.errors import InvalidRequestError
from rerankd.server.nginx.config import Facts, Nginx, Rate, render
from rerankd.settings import Settings, load_settings

app = typer.Typer(help="Write the configuration of what stands around the service.", no_args_is_help=True)
AbsolutePath = Annotated[str | None, typer.Option(metavar="PATH", help="Absolute path on nginx's machine.")]


@app.callback()
def _root() -> None:
    """Write the configuration of what stands around the service."""


@app.command()
def nginx(
    instances: Annotated[str, typer.Option(metavar="HOST:PORT,...", help="Where the instances listen.")],
    listen: Annotated[
        str | None, typer.Option(metavar="[ADDRESS:]PORT", help="Where nginx listens.  [default: 80, with TLS 443]")
    ] = None,
    server_name: Annotated[str, typer.Option(metavar="NAME,...", help="Names of the site; none for any.")] = "",
    tls_cert: AbsolutePath = None,
    tls_key: AbsolutePath = None,
    rate: Annotated[
        str | None, typer.Option(metavar="N/m", help="Requests of one key, 600/m or 10/s.  [default: any number]")
    ] = None,
    address_rate: Annotated[
        str | None, typer.Option(metavar="N/m", help="Requests of one address, whatever keys.  [default: 10 x rate]")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(min=0, max=1_000_000, help="Of one key at once.  [default: those of 10 seconds]")
    ] = None,
    connections: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Connections of one address.  [default: any number]")
    ] = None,
    folder: Annotated[
        str | None, typer.Option(metavar="DIR", help="For process id, logs, temporary files; to run without root.")
    ] = None,
    logs: Annotated[
        str | None, typer.Option(metavar="DIR", help="For logs.  [default: --folder, else /var/log/nginx]")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Account that nginx works as.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write.  [default: standard output]", dir_okay=False)] = None,
) -> None:
    """Write an nginx.conf for several instances: balanced, retried where that is safe, limited, in agreement with them.

    Body limit and timeouts come from the settings that are in force here (rerankd.toml, RERANKD_*): run it with those
    of the instances.
    """
    asked = Nginx(
        instances=_listed(instances),
        listen=listen or ("443" if tls_cert else "80"),
        server_names=_listed(server_name),
        tls_cert=tls_cert,
        tls_key=tls_key,
        rate=Rate.parse(rate) if rate else None,
        address_rate=Rate.parse(address_rate, "--address-rate") if address_rate else None,
        burst=burst,
        connections=connections,
        folder=folder,
        logs=logs,
        user=user,
    )
    text = render(asked, facts(load_settings()))
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidRequestError(f"{out} cannot be written ({error.strerror}).", hint="Name another --out.") from error
    stderr().print(f"Check it with: nginx -t -c {shlex.quote(str(out.resolve()))}", markup=False, soft_wrap=True)


def facts(settings: Settings) -> Facts:
    """What nginx must know of the service."""
    from rerankd.server.body_limiter import BODY_PAUSE_SECONDS
    from rerankd.server.middleware import REQUEST_ID
    from rerankd.server.routes.rerank import SCORING_PATHS
    from rerankd.server.run import KEEP_ALIVE_SECONDS

    return Facts(
        scoring_paths=SCORING_PATHS,
        request_id=REQUEST_ID.replace(r"\w", "A-Za-z0-9_"),
        max_body_bytes=int(settings.max_body_mb * 1_000_000),
        body_pause_seconds=BODY_PAUSE_SECONDS,
        max_queue_seconds=settings.max_queue_seconds,
        request_timeout=settings.request_timeout,
        keep_alive_seconds=KEEP_ALIVE_SECONDS,
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
