"""Spans of a real server, as a real collector passes them on."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openinference.semconv.trace import DocumentAttributes, OpenInferenceSpanKindValues, RerankerAttributes
from openinference.semconv.trace import SpanAttributes as Names
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import format_span_id, format_trace_id

from rerankd.client.client import Client
from tests.integration.collector import MISSING, Collector, collector_binary, running_collector
from tests.integration.contract import DOCUMENTS, QUERY
from tests.integration.index_program import run
from tests.integration.serving import Served, serve

pytestmark = pytest.mark.skipif(collector_binary() is None, reason=MISSING)
LLM = (str(Path(__file__).with_name("chat_server.py")),)
PASSAGE = "Pandas eat bamboo and live in China."


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with running_collector(tmp_path_factory.mktemp("collector") / "log") as running:
        yield running


@pytest.fixture(scope="module")
def served(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("traced")
    (folder / "pandas.txt").write_text(PASSAGE)
    run("index", "pandas.txt", "--index", "index", cwd=folder)
    with serve(program=LLM) as llm:
        env = {
            "RERANKD_OTEL_ENDPOINT": collector.endpoint,
            "RERANKD_OTEL_TEXTS": "true",
            "RERANKD_OTEL_DOCUMENTS": "3",
            "RERANKD_INDEX": str(folder / "index"),
            "RERANKD_SEARCH_THRESHOLD": "0.01",
            "RERANKD_LLM_URL": f"{llm.url}/v1",
            "RERANKD_LLM_MODEL": "good",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        with serve(env=env) as server:
            yield server


def document(prefix: str, number: int, name: str) -> str:
    return f"{prefix}.{number}.{name}"


def test_a_ranking_is_a_reranker_span_under_the_callers(collector: Collector, served: Served) -> None:
    tracer = TracerProvider().get_tracer("application")
    with tracer.start_as_current_span("application") as span, Client(served.url) as client:
        ranking = client.rank(QUERY, [{"text": text, "id": f"d{i}"} for i, text in enumerate(DOCUMENTS)], top_n=2)
    caller = span.get_span_context()
    spans = collector.wait(format_trace_id(caller.trace_id), "POST /v1/rerank", "tokenization", "queue", "inference")
    root = spans["POST /v1/rerank"]
    assert root.parent_id == format_span_id(caller.span_id)
    assert {spans[step].parent_id for step in ("tokenization", "queue", "inference")} == {root.span_id}
    attributes = root.attributes
    assert attributes[Names.OPENINFERENCE_SPAN_KIND] == OpenInferenceSpanKindValues.RERANKER.value
    assert attributes[RerankerAttributes.RERANKER_QUERY] == QUERY
    assert attributes[RerankerAttributes.RERANKER_TOP_K] == 2
    assert attributes[RerankerAttributes.RERANKER_MODEL_NAME] == ranking.model
    given, returned = RerankerAttributes.RERANKER_INPUT_DOCUMENTS, RerankerAttributes.RERANKER_OUTPUT_DOCUMENTS
    assert attributes[document(given, 0, DocumentAttributes.DOCUMENT_CONTENT)] == DOCUMENTS[0]
    assert document(given, 3, DocumentAttributes.DOCUMENT_ID) not in attributes  # no more than otel_documents
    best = ranking[0]
    assert attributes[document(returned, 0, DocumentAttributes.DOCUMENT_ID)] == f"d{best.index}"
    assert attributes[document(returned, 0, DocumentAttributes.DOCUMENT_SCORE)] == pytest.approx(
        best.relevance_score, abs=1e-6
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_question_is_a_chain_of_retriever_reranker_and_language_model(
    collector: Collector, served: Served, stream: bool
) -> None:
    trace_id = secrets.token_hex(16)
    body = {"query": "what do pandas eat?", "stream": stream}
    headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
    response = httpx.post(f"{served.url}/v1/ask", json=body, headers=headers, timeout=60, trust_env=False)
    assert response.status_code == 200, response.text
    spans = collector.wait(trace_id, "POST /v1/ask", "retrieve", "rerank", "answer")
    kinds = {name: span.attributes[Names.OPENINFERENCE_SPAN_KIND] for name, span in spans.items()}
    assert kinds == {"POST /v1/ask": "CHAIN", "retrieve": "RETRIEVER", "rerank": "RERANKER", "answer": "LLM"}
    found = document(Names.RETRIEVAL_DOCUMENTS, 0, DocumentAttributes.DOCUMENT_CONTENT)
    assert spans["retrieve"].attributes[found] == PASSAGE
    assert spans["answer"].attributes[Names.LLM_MODEL_NAME] == "good"
