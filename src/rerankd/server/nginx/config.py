"""Configuration of an nginx in front of several instances: a template, filled from options and service limits.

The service is known by `ServiceLimits` only, which the caller reads off the service itself. No nginx is run.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from string import Template

from rerankd.errors import InvalidRequestError
from rerankd.server.nginx.options import NginxOptions, ServiceLimits
from rerankd.server.nginx.parts import error_locations, limited, limits, temporary_folders, tls

FAIL_SECONDS = 1
MAX_FAILS = 3
MAX_TRIES = 3
MARGIN_SECONDS = 5
TEMPLATE = Path(__file__).with_name("nginx.conf.template")


class _Filled(Template):
    """nginx's variables begin with $, so placeholders begin with %."""

    delimiter = "%"


def render(nginx: NginxOptions, service: ServiceLimits) -> str:
    """Return the text of a whole `nginx.conf`.

    Raises:
        InvalidRequestError: the read timeout is shorter than the time in which an instance answers.

    Example:
        >>> service = ServiceLimits(["/rerank"], "^[a-z]+$", 32_000_000, 20, 30, 0, 30)
        >>> "client_max_body_size 32000000;" in render(NginxOptions(["a:8000", "b:8000"]), service)
        True
    """
    health = f"max_fails={MAX_FAILS} fail_timeout={FAIL_SECONDS}s"
    return _Filled(TEMPLATE.read_text(encoding="utf-8")).substitute(
        command=nginx.command,
        user=f"user {nginx.user};\n" if nginx.user else "",
        pid=f"{nginx.folder}/nginx.pid" if nginx.folder else "/run/nginx.pid",
        logs=nginx.logs or nginx.folder or "/var/log/nginx",
        folders=temporary_folders(nginx),
        request_id=f"~{service.request_id}",
        limits=limits(nginx),
        limited=limited(nginx),
        servers="\n".join(f"        server {instance} {health};" for instance in nginx.instances),
        all_servers="\n".join(f"        server {instance} max_fails=0;" for instance in nginx.instances),
        keep_alive=f"{service.keep_alive_seconds:g}",
        idle=max(1, int(service.keep_alive_seconds * 2 / 3)),
        listen=nginx.listen + (" ssl http2" if nginx.tls_cert else ""),
        server_name=" ".join(nginx.server_names) or "_",
        tls=tls(nginx),
        body=service.max_body_bytes,
        body_pause=math.ceil(service.body_pause_seconds),
        answer=_read_timeout(nginx, service),
        tries=min(MAX_TRIES, len(nginx.instances)),
        scoring="|".join(re.escape(path.removeprefix("/")) for path in sorted(service.scoring_paths)),
        errors=error_locations(nginx, service),
    )


def _read_timeout(nginx: NginxOptions, service: ServiceLimits) -> int:
    # A request larger than half the queue may take longer than max_queue_seconds, and is answered all the same.
    shortest = math.ceil(max(2 * service.max_queue_seconds, service.request_timeout)) + MARGIN_SECONDS
    if nginx.read_timeout is not None and nginx.read_timeout < shortest:
        raise InvalidRequestError(
            f"--read-timeout {nginx.read_timeout} is shorter than the {shortest} seconds in which an instance answers, "
            "so that nginx would have requests computed twice.",
            hint="Give a longer time, or lower max_queue_seconds and request_timeout.",
        )
    return nginx.read_timeout or shortest
