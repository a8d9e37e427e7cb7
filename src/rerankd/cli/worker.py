"""`rerankd worker`: a process that runs asynchronous jobs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rerankd.cli.options import Config, say_sources, setting_flags
from rerankd.cli.output import stderr
from rerankd.settings import Settings, load_settings

# A worker opens no port for requests and checks no API keys.
_SERVER_SETTINGS = {
    *(
        "head_seconds",
        "max_connections",
        "host",
        "port",
        "max_body_mb",
        "max_inflight_mb",
        "max_json_depth",
        "max_documents",
        "request_timeout",
    ),
    *(
        "api_keys",
        "api_keys_file",
        "metrics_keys",
        "allowed_hosts",
        "cors_origins",
        "trusted_proxies",
        "drain_seconds",
        "max_queue_seconds",
    ),
    *("jobs_path", "max_jobs", "max_jobs_mb", "max_jobs_share", "top_n"),
}


@setting_flags(*(name for name in Settings.model_fields if name not in _SERVER_SETTINGS))
def worker(
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="Port for Prometheus metrics; 0 for none.")] = 0,
    metrics_host: Annotated[
        str, typer.Option(help="Address of that port. Metrics need no key: 0.0.0.0 shows them to the whole network.")
    ] = "127.0.0.1",
    config: Config = None,
    **flags: Any,
) -> None:
    """Run jobs from the queue in Redis until SIGTERM; start as many workers as needed.

    The threads of a worker share one engine per model, so jobs of many users are batched together.
    """
    settings = load_settings(config, **flags)
    from rerankd.server.observability import logs
    from rerankd.server.observability.metrics import Metrics
    from rerankd.server.run import stay_at_hangup
    from rerankd.wiring.worker import WorkerProcess

    logs.configure(settings.log_format, settings.log_level)
    say_sources(config)
    metrics = Metrics()
    process = WorkerProcess(settings, metrics, lambda: stay_at_hangup("Settings need a restart."))
    metrics.watch_registry(process.pool, process.follower)
    metrics.watch_pool(process.pool, lambda: process.ready)
    metrics.watch_traces(process.traces)
    metrics.watch_dependencies(lambda: process.dependencies.up)
    if metrics_port:
        metrics.serve(metrics_port, metrics_host)
        stderr().print(f"metrics  http://{metrics_host}:{metrics_port}/metrics", highlight=False, soft_wrap=True)
    process.run()
