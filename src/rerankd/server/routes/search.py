"""Routes for search and question answering: `/v1/search` finds passages, `/v1/ask` answers from them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from rerankd.retrieval.answer import Answer, AnswerDelta, SearchResult
from rerankd.retrieval.rag import Rag
from rerankd.retrieval.selection import SearchOptions
from rerankd.retrieval.serialization import ask_response, search_response
from rerankd.server.auth.usage import UsageMeter
from rerankd.server.context import current_request
from rerankd.server.disconnect import cancel_on_disconnect
from rerankd.server.ranking_request import read_origin, to_rerank_request
from rerankd.server.request_parsing import read_json, validated
from rerankd.server.responses import json_response, version_headers, warning_headers
from rerankd.server.schemas.dialects import truncation_warnings
from rerankd.server.schemas.openapi import VERSION_HEADERS, operation
from rerankd.server.schemas.openapi_errors import SEARCH
from rerankd.server.schemas.responses.search import AskResponse, SearchResponse
from rerankd.server.schemas.search import AskRequestBody, SearchRequestBody
from rerankd.server.service import Service
from rerankd.types import RerankRequest

EVENTS = (
    "With `stream`: server-sent events. `passages` has the answer of `/v1/search`, each `token` has `text`, and "
    "`answer` has the answer of `/v1/ask` without its passages."
)
StreamPart = SearchResult | AnswerDelta | Answer


class SearchRoutes:
    """Handlers for search and question answering.

    Every key sees the whole index; rules can hide documents from a tenant.

    Args:
        service: the instance.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._meter = service, UsageMeter(service.quotas)

    async def search(self, request: Request) -> Response:
        """Find the passages of the index that answer a question: retrieve, rerank, threshold, deduplicate, budget."""
        payload, content = await read_json(request, self._service.settings)
        body = validated(SearchRequestBody, content)
        template = self._template(request, payload, body)
        rag = await self._open_rag(template)
        options = search_options(body, self._service.search_service.options)
        with self._service.tracing.request(request.url.path, request.headers) as current_request.get().span:
            async with cancel_on_disconnect(request), self._meter.refund_on_error():
                result = await rag.search(body.query, options, template)
            record_search(self._service, result)
        return _search_json(search_response(result, explain=bool(body.explain)), result)

    async def ask(self, request: Request) -> Response:
        """Answer a question with numbered citations; without a language model, with the passages themselves."""
        payload, content = await read_json(request, self._service.settings)
        body = validated(AskRequestBody, content)
        template, explain = self._template(request, payload, body), bool(body.explain)
        options = search_options(body, self._service.search_service.options)
        rag = await self._open_rag(template)
        if body.stream:
            context = current_request.get()
            context.span = self._service.tracing.start(request.url.path, request.headers)
            parts = context.span.steps(rag.ask(body.query, options, template))
            # An error before the first event has a status of its own.
            async with cancel_on_disconnect(request), self._meter.refund_on_error():
                first = await anext(parts)
            headers = _headers(first) if isinstance(first, SearchResult) else None
            events = self._events(first, parts, explain)
            return StreamingResponse(events, headers=headers, media_type="text/event-stream")
        with self._service.tracing.request(request.url.path, request.headers) as current_request.get().span:
            async with cancel_on_disconnect(request), self._meter.refund_on_error():
                answer = await rag.answer(body.query, options, template)
            record_search(self._service, answer.search)
            record_answer(self._service, answer)
        return _search_json(ask_response(answer, explain=explain), answer.search)

    def _template(self, request: Request, payload: bytes, body: SearchRequestBody) -> RerankRequest:
        """Return the ranking request that the documents of the first stage are filled into."""
        self._service.check_started()
        return to_rerank_request(body, self._service.settings, read_origin(request, payload, self._service.settings))

    async def _open_rag(self, template: RerankRequest) -> Rag:
        return await self._service.search_service.rag(self._meter.charge(), self._meter.settle, template)

    async def _events(
        self, first: StreamPart, parts: AsyncGenerator[StreamPart, None], explain: bool
    ) -> AsyncGenerator[bytes, None]:
        """Yield server-sent events; closing it, when the client disconnects, stops the language model."""
        yield self._event(first, explain)
        async with aclosing(parts):
            async for part in parts:
                yield self._event(part, explain)

    def _event(self, part: StreamPart, explain: bool) -> bytes:
        if isinstance(part, SearchResult):
            record_search(self._service, part)
            return _encode_event("passages", search_response(part, explain=explain))
        if isinstance(part, AnswerDelta):
            return _encode_event("token", {"text": part.text})
        record_answer(self._service, part)
        content = ask_response(part, explain=explain)
        return _encode_event(
            "answer", {name: value for name, value in content.items() if name not in ("passages", "dropped")}
        )


def search_options(body: SearchRequestBody, defaults: SearchOptions) -> SearchOptions:
    """Return the options of a body, with those of the settings as defaults."""
    return SearchOptions(
        body.k or defaults.k,
        body.top_n or defaults.top_n,
        defaults.threshold if body.lowest_passage_score is None else body.lowest_passage_score,
        body.max_tokens or defaults.budget,
    )


def record_search(service: Service, result: SearchResult) -> None:
    """Note a search in the log and the metrics."""
    context, metrics = current_request.get(), service.metrics
    documents = len(result.passages) + len(result.dropped)
    context.fields |= {"model": result.model, "documents": documents, "passages": len(result.passages)}
    if result.version:
        context.fields["version"] = result.version
        metrics.answers.labels(result.model, result.version).inc()
    if result.experiment:
        context.fields["experiment"] = result.experiment
    metrics.searches.labels("found" if result.passages else "nothing").inc()
    metrics.retrieval.observe(result.timings["retrieve"] / 1000)
    if context.span is not None:
        context.span.describe_search(result)


def record_answer(service: Service, answer: Answer) -> None:
    """Note the language model's answer in the span of the request."""
    span, milliseconds = current_request.get().span, answer.search.timings.get("answer")
    if span is not None and milliseconds is not None:
        span.describe_answer(service.search_service.language_model, answer.text, milliseconds)


def _encode_event(name: str, content: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(content) + b"\n\n"


def _search_json(content: Any, result: SearchResult) -> Response:
    return json_response(content, headers=_headers(result))


def _headers(result: SearchResult) -> dict[str, str]:
    """Return the headers with the model version and the warnings, also of passages that were not read in full."""
    ranked = [passage.ranked for passage in (*result.passages, *result.dropped)]
    warnings = [*result.warnings, *truncation_warnings(sum(document.truncated for document in ranked), len(ranked))]
    return version_headers(result.version, result.experiment) | warning_headers(warnings)


def search_router(service: Service) -> APIRouter:
    """Return the routes for search and question answering."""
    router, routes = APIRouter(tags=["search"]), SearchRoutes(service)
    search = operation(
        "search",
        "Find passages",
        SearchResponse,
        bodies=[SearchRequestBody],
        errors=SEARCH,
        headers=VERSION_HEADERS,
    )
    ask = operation(
        "ask",
        "Answer a question",
        AskResponse,
        bodies=[AskRequestBody],
        errors=SEARCH,
        headers=VERSION_HEADERS,
        media={"text/event-stream": {"type": "string", "description": EVENTS}},
    )
    router.add_api_route("/v1/search", routes.search, methods=["POST"], **search)
    router.add_api_route("/v1/ask", routes.ask, methods=["POST"], **ask)
    return router
