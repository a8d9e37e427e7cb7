"""OpenTelemetry spans of a request, behind the extra `otel`; nothing is sent unless an endpoint is set."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from rerankd._common.optional import require
from rerankd.retrieval.answer import SearchResult
from rerankd.server.observability import openinference
from rerankd.server.observability.openinference import Attributes, Detail
from rerankd.types import RerankRequest, RerankResult

STEPS = ("tokenization", "queue", "inference")
MAX_ATTRIBUTES = 1000  # three for each document that comes in or goes out, at most a hundred each
Part = TypeVar("Part")


class Tracing:
    """Source of spans; without an endpoint it does nothing.

    Args:
        endpoint: OTLP over HTTP, such as `http://localhost:4318/v1/traces`; None for no tracing.
        exporter: another exporter, for tests.
        detail: detail of the spans; None for the default, which holds no text.

    Raises:
        MissingDependencyError: the extra is not installed.
    """

    def __init__(self, endpoint: str | None = None, exporter: Any = None, detail: Detail | None = None) -> None:
        self._provider: Any = None
        self._detail = detail or Detail()
        if endpoint is None and exporter is None:
            return
        trace = require("opentelemetry.sdk.trace", "otel", "Tracing")
        exporting = require("opentelemetry.sdk.trace.export", "otel", "Tracing")
        resources = require("opentelemetry.sdk.resources", "otel", "Tracing")
        self._api = require("opentelemetry.trace", "otel", "Tracing")
        self._propagate = require("opentelemetry.trace.propagation.tracecontext", "otel", "Tracing")
        self._provider = trace.TracerProvider(
            resource=resources.Resource.create({"service.name": "rerankd"}),
            span_limits=trace.SpanLimits(max_span_attributes=MAX_ATTRIBUTES),
        )
        if exporter is None:
            otlp = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", "otel", "Tracing")
            exporter = otlp.OTLPSpanExporter(endpoint=endpoint)
        self._provider.add_span_processor(exporting.BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("rerankd")

    def start(self, path: str, headers: Mapping[str, str]) -> RequestSpan:
        """Start the span of one request, a child of the client's if it sends `traceparent`; `end` ends it."""
        if self._provider is None:
            return _NO_SPAN
        parent = self._propagate.TraceContextTextMapPropagator().extract(dict(headers))
        span = self._tracer.start_span(f"POST {path}", context=parent, kind=self._api.SpanKind.SERVER)
        return RequestSpan(span, self._tracer, self._api, self._detail)

    @contextmanager
    def request(self, path: str, headers: Mapping[str, str]) -> Iterator[RequestSpan]:
        """Open a span around one request, a child of the client's if it sends `traceparent`."""
        span = self.start(path, headers)
        try:
            with span.active():
                yield span
        finally:
            span.end()

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

    def __init__(self, span: Any, tracer: Any, api: Any = None, detail: Detail | None = None) -> None:
        self._span, self._tracer, self._api, self._detail = span, tracer, api, detail or Detail()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make it the parent of the spans and of the requests that begin inside."""
        if self._span is None:
            yield
            return
        with self._api.use_span(self._span, end_on_exit=False, record_exception=False):
            yield

    async def steps(self, parts: AsyncGenerator[Part, None]) -> AsyncGenerator[Part, None]:
        """Yield the parts of a stream; each is made under this span, which ends with the last."""
        try:
            async with aclosing(parts):
                while True:
                    with self.active():
                        try:
                            part = await anext(parts)
                        except StopAsyncIteration:
                            return
                    yield part
        finally:
            self.end()

    def end(self) -> None:
        """End it; once is enough."""
        if self._span is not None and self._span.is_recording():
            self._span.end()

    def describe(self, attributes: Mapping[str, str | int], timings: Mapping[str, float]) -> None:
        """Add the attributes that are known at the end, and a child span for each step.

        Args:
            attributes: names in the form `rerankd.model`.
            timings: milliseconds by step; the steps ended now, one after the other.
        """
        if self._span is None:
            return
        self._span.set_attributes(dict(attributes))
        self._children([(step, timings.get(step, 0.0), {}) for step in STEPS])

    def describe_ranking(self, request: RerankRequest, result: RerankResult) -> None:
        """Add what OpenInference says of a ranking."""
        if self._span is not None:
            self._span.set_attributes(openinference.reranker_attributes(request, result, self._detail))

    def describe_search(self, result: SearchResult) -> None:
        """Add what OpenInference says of a search, with a child span for its first stage and one for its ranking."""
        if self._span is None:
            return
        self._span.set_attributes(openinference.chain_attributes(result, self._detail))
        retriever = openinference.retriever_attributes(result, self._detail)
        reranker = openinference.search_reranker_attributes(result, self._detail)
        timings = result.timings
        self._children([("retrieve", timings["retrieve"], retriever), ("rerank", timings["rerank"], reranker)])

    def describe_answer(self, model: str, text: str | None, milliseconds: float) -> None:
        """Add a child span for the language model, which ended now."""
        if self._span is not None:
            self._children([("answer", milliseconds, openinference.llm_attributes(model, text, self._detail))])

    def _children(self, steps: list[tuple[str, float, Attributes]]) -> None:
        """Add child spans for steps, in milliseconds, which ended now, one after the other."""
        end = time.time_ns()
        starts = end - int(sum(milliseconds for _, milliseconds, _ in steps) * 1e6)
        parent = self._api.set_span_in_context(self._span)
        for name, milliseconds, attributes in steps:
            stops = starts + int(milliseconds * 1e6)
            self._tracer.start_span(name, context=parent, start_time=starts, attributes=attributes).end(end_time=stops)
            starts = stops


_NO_SPAN = RequestSpan(None, None)
