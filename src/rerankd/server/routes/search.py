"""The paths of questions: `/v1/search` finds passages, `/v1/ask` answers from them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from rerankd.engine.admission import make_retry_key
from rerankd.errors import UnavailableError
from rerankd.retrieval.answer import Answer, AnswerDelta, SearchResult
from rerankd.retrieval.rag import Rag
from rerankd.retrieval.selection import SearchOptions
from rerankd.retrieval.serialization import ask_response, search_response
from rerankd.server.auth.usage import UsageMeter, cancel_on_disconnect, version_headers
from rerankd.server.context import current_request
from rerankd.server.request_parsing import (
    SESSION_HEADER,
    USER_HEADER,
    fusion_of,
    parse_json,
    timeout_of,
    unit_header,
    validated,
)
from rerankd.server.schemas.search import AskRequestBody, SearchRequestBody
from rerankd.server.service import Service
from rerankd.types import RerankRequest


class SearchRoutes:
    """Answers questions for one instance. Every key sees the whole index; rules can hide documents by tenant."""

    def __init__(self, service: Service) -> None:
        self._service, self._meter = service, UsageMeter(service)

    async def search(self, request: Request) -> Response:
        """Find the passages of the index that answer a question: retrieve, rerank, threshold, duplicates, budget."""
        body = await request.body()
        given = validated(SearchRequestBody, parse_json(body, self._service.settings.max_json_depth))
        rag, work, options = await self._opened(request, body, given)
        found = await cancel_on_disconnect(request, self._meter.refund_on_error(rag.search(given.query, options, work)))
        self._note(found)
        return _json(search_response(found, explain=bool(given.explain)), found)

    async def ask(self, request: Request) -> Response:
        """Answer a question with numbered citations; without a language model, with the passages themselves."""
        body = await request.body()
        given = validated(AskRequestBody, parse_json(body, self._service.settings.max_json_depth))
        rag, work, options = await self._opened(request, body, given)
        explain = bool(given.explain)
        if given.stream:
            parts = rag.ask(given.query, options, work)
            # What is wrong before there is anything to send is an error with its own status.
            first = await cancel_on_disconnect(request, self._meter.refund_on_error(anext(parts)))
            headers = version_headers(first.version, first.experiment) if isinstance(first, SearchResult) else None
            return StreamingResponse(
                self._events(first, parts, explain), headers=headers, media_type="text/event-stream"
            )
        answer = await cancel_on_disconnect(
            request, self._meter.refund_on_error(rag.answer(given.query, options, work))
        )
        self._note(answer.search)
        return _json(ask_response(answer, explain=explain), answer.search)

    async def _opened(
        self, request: Request, body: bytes, given: SearchRequestBody
    ) -> tuple[Rag, RerankRequest, SearchOptions]:
        """The pipeline, and how its ranking is asked for."""
        if not self._service.started:
            raise UnavailableError("The service is starting.", hint="Send the request again.")
        log, settings = current_request.get(), self._service.settings
        who = log.key.id if log.key else (request.client.host if request.client else "")
        work = RerankRequest(
            given.query,
            [],
            model=given.model,
            timeout=timeout_of(request, given.timeout, settings),
            fairness_key=who,
            retry_key=make_retry_key(who, body),
            cache=given.cache is not False,
            request_id=log.request_id,
            tenant=log.key.id if log.key else "",
            source="http",
            fusion=fusion_of(given, settings),
            user=unit_header(request, USER_HEADER),
            session=unit_header(request, SESSION_HEADER),
        )
        usual = self._service.search_service.options
        options = SearchOptions(
            given.k or usual.k,
            given.top_n or usual.top_n,
            usual.threshold if given.threshold is None else given.threshold,
            given.max_tokens or usual.budget,
        )
        return await self._service.search_service.rag(self._meter.charge(log), self._meter.settle), work, options

    async def _events(
        self,
        first: SearchResult | AnswerDelta | Answer,
        parts: AsyncGenerator[SearchResult | AnswerDelta | Answer, None],
        explain: bool,
    ) -> AsyncGenerator[bytes, None]:
        """Server-sent events; closed, and with them the language model, when the caller goes away."""
        yield self._event(first, explain)
        async with aclosing(parts):
            async for part in parts:
                yield self._event(part, explain)

    def _event(self, part: SearchResult | AnswerDelta | Answer, explain: bool) -> bytes:
        if isinstance(part, SearchResult):
            self._note(part)
            return _sent("passages", search_response(part, explain=explain))
        if isinstance(part, AnswerDelta):
            return _sent("token", {"text": part.text})
        whole = ask_response(part, explain=explain)
        return _sent("answer", {name: value for name, value in whole.items() if name not in ("passages", "dropped")})

    def _note(self, found: SearchResult) -> None:
        log, metrics = current_request.get(), self._service.metrics
        count = len(found.passages) + len(found.dropped)
        log.fields |= {"model": found.model, "documents": count, "passages": len(found.passages)}
        if found.version:
            log.fields["version"] = found.version
            metrics.answers.labels(found.model, found.version).inc()
        if found.experiment:
            log.fields["experiment"] = found.experiment
        metrics.searches.labels("found" if found.passages else "nothing").inc()
        metrics.retrieval.observe(found.timings["retrieve"] / 1000)


def _sent(name: str, content: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(content) + b"\n\n"


def _json(content: Any, found: SearchResult) -> Response:
    headers = version_headers(found.version, found.experiment)
    return Response(orjson.dumps(content), headers=headers, media_type="application/json")


def search_router(service: Service) -> APIRouter:
    """The paths of questions."""
    router, questions = APIRouter(tags=["search"]), SearchRoutes(service)
    for path, answer, model in (
        ("/v1/search", questions.search, SearchRequestBody),
        ("/v1/ask", questions.ask, AskRequestBody),
    ):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        body = {"required": True, "content": {"application/json": {"schema": schema}}}
        router.add_api_route(path, answer, methods=["POST"], openapi_extra={"requestBody": body})
    return router
