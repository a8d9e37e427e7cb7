from __future__ import annotations

import re

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rerankd._common.optional import install_command
from rerankd.errors import MissingDependencyError
from rerankd.server.observability.tracing import Tracing

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_request_is_a_span_with_its_steps_under_the_callers() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter=exporter)
    with tracing.request("/v1/rerank", {"traceparent": PARENT}) as span:
        span.describe({"rerankd.model": "mini"}, {"tokenization": 1.0, "queue": 2.0, "inference": 3.0})
    tracing.flush()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"POST /v1/rerank", "tokenization", "queue", "inference"}
    root = spans["POST /v1/rerank"]
    assert root.context is not None
    assert root.parent is not None
    assert format(root.parent.span_id, "x") == "b7ad6b7169203331"
    assert root.attributes == {"rerankd.model": "mini"}
    inference = spans["inference"]
    assert inference.parent is not None
    assert inference.parent.span_id == root.context.span_id
    assert inference.end_time is not None
    assert inference.start_time is not None
    assert inference.end_time - inference.start_time == pytest.approx(3e6)
    tracing.close()


def test_without_an_endpoint_nothing_happens() -> None:
    tracing = Tracing()
    with tracing.request("/rerank", {}) as span:
        span.describe({}, {})
    tracing.flush()
    tracing.close()


def test_without_the_extra_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingDependencyError, match=re.escape(install_command("otel"))):
        Tracing("http://127.0.0.1:4318/v1/traces")
