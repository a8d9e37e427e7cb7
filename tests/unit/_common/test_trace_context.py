from __future__ import annotations

import httpx
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import format_span_id, format_trace_id

from rerankd._common.trace_context import trace_headers
from rerankd.client.exchange import Exchange
from rerankd.retrieval.chat import ChatModel, ChatOptions
from rerankd.retrieval.embedding import EndpointEmbedder
from rerankd.retrieval.external import ExternalRetriever, parse_mapping


async def test_whoever_is_called_under_a_span_learns_of_it() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("traceparent", ""))
        if "chat" in request.url.path:
            event = b'data: {"choices": [{"delta": {"content": "yes"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
            return httpx.Response(200, content=event, headers={"content-type": "text/event-stream"})
        if "embed" in request.url.path:
            return httpx.Response(200, json={"data": [{"index": 0, "embedding": [1.0, 0.0]}]})
        return httpx.Response(200, json={"hits": [{"text": "a"}]})

    transport = httpx.MockTransport(answer)
    chat = ChatModel(ChatOptions("http://llm/v1", "m"), transport=transport)
    embedder = EndpointEmbedder("http://embed/v1/embeddings", "m", transport=transport)
    external = ExternalRetriever(
        parse_mapping({"url": "http://index/search?q={query}", "hits": "hits", "text": "text"}), transport
    )
    with TracerProvider().get_tracer("application").start_as_current_span("application") as span:
        assert [delta async for delta in chat.stream([{"role": "user", "content": "q"}])] == ["yes"]
        embedder.embed(["text"], "query")
        external.search("q", 1)
        seen.append(Exchange("http://service", "", None, 0).request("GET", "/readyz").headers["traceparent"])
    context = span.get_span_context()
    expected = f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}"
    assert {header[: len(expected)] for header in seen} == {expected}
    assert len(seen) >= 4
    await chat.close()
    embedder.close()
    external.close()


def test_without_a_span_nothing_is_sent() -> None:
    assert trace_headers() == {}
    assert "traceparent" not in Exchange("http://service", "", None, 0).request("GET", "/readyz").headers
