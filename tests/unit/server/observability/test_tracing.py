from __future__ import annotations

import re
from collections.abc import AsyncGenerator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rerankd._common.optional import install_command
from rerankd._common.trace_context import trace_headers
from rerankd.errors import MissingDependencyError
from rerankd.server.observability.openinference import MAX_TEXT, Detail, reranker_attributes
from rerankd.server.observability.tracing import Tracing
from rerankd.types import Document, RankedDocument, RerankRequest, RerankResult, Usage

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


def test_texts_stay_out_of_a_span_unless_they_are_asked_for() -> None:
    request = RerankRequest("secret query", [Document("secret text", "d1", {"score": 0.5}), Document("other", "d2")])
    ranked = RankedDocument(1, request.documents[1], 0.9, 2.2, 2, 1)
    result = RerankResult((ranked,), "mini", Usage(0, 0, 0), {})
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter=exporter)
    with tracing.request("/v1/rerank", {}) as span:
        span.describe_ranking(request, result)
    tracing.close()
    [finished] = exporter.get_finished_spans()
    assert finished.attributes == {
        "openinference.span.kind": "RERANKER",
        "reranker.model_name": "mini",
        "reranker.top_k": 1,
        "reranker.input_documents.0.document.id": "d1",
        "reranker.input_documents.0.document.score": 0.5,
        "reranker.input_documents.1.document.id": "d2",
        "reranker.output_documents.0.document.id": "d2",
        "reranker.output_documents.0.document.score": 0.9,
    }


def test_documents_and_texts_of_a_span_are_bounded() -> None:
    documents = [Document("word " * 1000, str(number)) for number in range(50)]
    request, detail = RerankRequest("q" * 5000, documents), Detail(texts=True, documents=4)
    attributes = reranker_attributes(request, RerankResult((), "mini", Usage(0, 0, 0), {}), detail)
    contents = [value for name, value in attributes.items() if name.endswith(".content")]
    assert [len(str(content)) for content in contents] == [MAX_TEXT] * 4
    assert len(str(attributes["reranker.query"])) == MAX_TEXT


async def test_a_stream_runs_under_its_span_which_ends_with_it() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter=exporter)
    span = tracing.start("/v1/ask", {"traceparent": PARENT})

    async def parts() -> AsyncGenerator[str, None]:
        for _ in range(2):
            yield trace_headers()["traceparent"]

    seen = [part async for part in span.steps(parts())]
    assert [part[3:35] for part in seen] == [PARENT[3:35]] * 2
    assert trace_headers() == {}
    tracing.close()
    assert [finished.name for finished in exporter.get_finished_spans()] == ["POST /v1/ask"]
