"""OpenTelemetry spans of a request, behind the extra `otel`; nothing is sent unless an endpoint is set."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rerankd._common.optional import require

STEPS = ("tokenization", "queue", "inference")


class Tracing:
    """Source of spans; without an endpoint it does nothing.

    Args:
        endpoint: OTLP over HTTP, such as `http://localhost:4318/v1/traces`; None for no tracing.
        exporter: another exporter, for tests.

    Raises:
        MissingDependencyError: the extra is not installed.
    """

    def __init__(self, endpoint: str | None = None, exporter: Any = None) -> None:
        self._provider: Any = None
        if endpoint is None and exporter is None:
            return
        trace = require("opentelemetry.sdk.trace", "otel", "Tracing")
        exporting = require("opentelemetry.sdk.trace.export", "otel", "Tracing")
        resources = require("opentelemetry.sdk.resources", "otel", "Tracing")
        self._api = require("opentelemetry.trace", "otel", "Tracing")
        self._propagate = require("opentelemetry.trace.propagation.tracecontext", "otel", "Tracing")
        self._provider = trace.TracerProvider(resource=resources.Resource.create({"service.name": "rerankd"}))
        if exporter is None:
            otlp = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", "otel", "Tracing")
            exporter = otlp.OTLPSpanExporter(endpoint=endpoint)
        self._provider.add_span_processor(exporting.BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("rerankd")

    @contextmanager
    def request(self, path: str, headers: Mapping[str, str]) -> Iterator[RequestSpan]:
        """Open a span around one request, a child of the client's if it sends `traceparent`."""
        if self._provider is None:
            yield RequestSpan(None, None)
            return
        parent = self._propagate.TraceContextTextMapPropagator().extract(dict(headers))
        with self._tracer.start_as_current_span(
            f"POST {path}", context=parent, kind=self._api.SpanKind.SERVER, record_exception=False
        ) as span:
            yield RequestSpan(span, self._tracer)

    def flush(self) -> None:
        """Send pending spans."""
        if self._provider is not None:
            self._provider.force_flush()

    def close(self) -> None:
        """Send pending spans and shut down."""
        if self._provider is not None:
            self._provider.shutdown()


class RequestSpan:
    """Span of a request, or none."""

    def __init__(self, span: Any, tracer: Any) -> None:
        self._span, self._tracer = span, tracer

    def describe(self, attributes: Mapping[str, str | int], timings: Mapping[str, float]) -> None:
        """Add the attributes that are known at the end, and a child span for each step.

        Args:
            attributes: names in the form `rerankd.model`.
            timings: milliseconds by step; the steps ended now, one after the other.
        """
        if self._span is None:
            return
        self._span.set_attributes(dict(attributes))
        end = time.time_ns()
        starts = end - int(sum(timings.get(step, 0.0) for step in STEPS) * 1e6)
        for step in STEPS:
            stops = starts + int(timings.get(step, 0.0) * 1e6)
            self._tracer.start_span(step, start_time=starts).end(end_time=stops)
            starts = stops
