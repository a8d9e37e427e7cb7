"""Metrics, traces and logs of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.server.observability.experiment_gauges import ExperimentGauges
    from rerankd.server.observability.logs import JsonFormatter, TextFormatter
    from rerankd.server.observability.metrics import Metrics
    from rerankd.server.observability.tracing import RequestSpan, Tracing

__all__ = [
    "ExperimentGauges",
    "JsonFormatter",
    "Metrics",
    "RequestSpan",
    "TextFormatter",
    "Tracing",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.server.observability.experiment_gauges": ("ExperimentGauges",),
        "rerankd.server.observability.logs": ("JsonFormatter", "TextFormatter"),
        "rerankd.server.observability.metrics": ("Metrics",),
        "rerankd.server.observability.tracing": ("RequestSpan", "Tracing"),
    },
)
