"""The page of questions: every stage from the question to the answer, over the index of the service."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import Response
from pydantic import BaseModel, Field
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import StreamingResponse

from rerankd.console.ask_content import Json, answer_content, search_content
from rerankd.console.router import ConsoleRouter, form_of, query_of, redirect
from rerankd.console.visitor import Visitor
from rerankd.errors import MissingDependencyError, NotFoundError
from rerankd.retrieval.answer import Answer, AnswerDelta, SearchResult
from rerankd.retrieval.prompt import build_messages
from rerankd.retrieval.rag import Rag
from rerankd.server.auth.usage import UsageMeter
from rerankd.server.disconnect import cancel_on_disconnect
from rerankd.server.ranking_request import read_origin, to_rerank_request
from rerankd.server.request_parsing import validated
from rerankd.server.routes.search import record_search, search_options
from rerankd.server.schemas.fusion import FusionName
from rerankd.server.schemas.search import SearchRequestBody
from rerankd.server.service import Service
from rerankd.types import RerankRequest

MAX_QUESTION = 4000
MAX_HELD = 5000  # candidates of all searches that are held
Messages = Sequence[dict[str, str]]


class AskQuery(BaseModel):
    """Parameters of the page."""

    question: str | None = Field(None, max_length=MAX_QUESTION)
    k: int | None = Field(None, ge=1, le=1000)
    top_n: int | None = Field(None, ge=1, le=100)
    threshold: float | None = Field(None, ge=0, le=1)
    max_tokens: int | None = Field(None, ge=16, le=100_000)
    fusion: FusionName | None = None
    fusion_weight: float | None = Field(None, ge=0, le=100)

    def body(self) -> SearchRequestBody:
        """Return the same question as the API takes it."""
        fields = {name: value for name, value in self if name in SearchRequestBody.model_fields and value is not None}
        return validated(SearchRequestBody, fields | {"query": self.question})


class AnswerForm(AskQuery):
    """Form that asks for the answer to a question whose passages were shown."""

    question: str = Field(min_length=1, max_length=MAX_QUESTION)
    search: str = Field("", max_length=128)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A search, and the prompt that its answer is asked for with."""

    result: SearchResult
    messages: Messages

    @property
    def candidates(self) -> int:
        """Number of candidates, kept or dropped; at least 1."""
        return len(self.result.passages) + len(self.result.dropped) or 1


class AskPages:
    """Pages of questions. Every key sees the whole index; rules can hide documents from a tenant.

    A search is held for a while, so that its answer is asked for without a second search.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._search = service, service.search_service
        self._meter = UsageMeter(service.quotas)
        self._held: OrderedDict[tuple[str, str], Prepared] = OrderedDict()

    async def show(self, request: Request, visitor: Visitor) -> Mapping[str, Any]:
        """Show the form, and for a question its passages."""
        query = query_of(request, AskQuery)
        content = self._content(query)
        if query.question is None:
            return content
        try:
            prepared, _ = await self._prepare(request, visitor, query)
        except (NotFoundError, MissingDependencyError) as error:
            return content | {"missing": {"message": error.message, "hint": error.hint}}
        return content | self._found(prepared)

    async def answer(self, request: Request, visitor: Visitor, form: FormData) -> Mapping[str, Any] | Response:
        """Answer a question: as a stream of events where the page asks for one, else as the whole page."""
        fields = form_of(form, AnswerForm)
        held = self._held.get((_owner(visitor), fields.search))
        if held is None or held.result.query != fields.question:
            prepared, rag = await self._prepare(request, visitor, fields)
        else:
            prepared, rag = held, await self._rag(request, fields)
        if "text/event-stream" in request.headers.get("accept", ""):
            return StreamingResponse(self._events(prepared, rag), media_type="text/event-stream")
        async with cancel_on_disconnect(request), aclosing(rag.generate(prepared.result, prepared.messages)) as parts:
            answers = [answer_content(part) async for part in parts if isinstance(part, Answer)]
        return self._content(fields) | self._found(prepared) | {"answer": answers[-1]}

    async def ranking(self, request: Request, visitor: Visitor) -> Response:
        """Go to the comparison of a question's ranking."""
        self._service.check_traces()
        name = str(request.path_params["request_id"])
        traces = self._service.trace_service
        found = await traces.call(lambda: traces.store.find_trace(name, visitor.tenant))
        if found is None:
            hint = "A ranking is stored a moment after it was made: load the page again."
            raise NotFoundError(f"There is no ranking {name[:100]!r}.", hint=hint)
        return redirect(request, f"/compare?trace={found.trace.id}")

    async def _prepare(self, request: Request, visitor: Visitor, query: AskQuery) -> tuple[Prepared, Rag]:
        """Find the passages of a question, and hold them for its answer."""
        body, template = query.body(), self._template(request, query)
        rag = await self._rag(request, query)
        async with self._meter.refund_on_error():
            result = await rag.search(body.query, search_options(body, self._search.options), template)
        record_search(self._service, result)
        prepared = Prepared(result, build_messages(result))
        self._held[_owner(visitor), result.request_id] = prepared
        while sum(held.candidates for held in self._held.values()) > MAX_HELD and len(self._held) > 1:
            self._held.popitem(last=False)
        return prepared, rag

    async def _rag(self, request: Request, query: AskQuery) -> Rag:
        return await self._search.rag(self._meter.charge(), self._meter.settle, self._template(request, query))

    def _template(self, request: Request, query: AskQuery) -> RerankRequest:
        self._service.check_started()
        settings = self._service.settings
        origin = read_origin(request, (query.question or "").encode("utf-8", "replace"), settings)
        return to_rerank_request(query.body(), settings, origin)

    async def _events(self, prepared: Prepared, rag: Rag) -> AsyncGenerator[bytes, None]:
        """Yield the events of an answer; closing it, when the visitor leaves, stops the language model."""
        yield _event("prompt", self._prompt(prepared))
        async with aclosing(rag.generate(prepared.result, prepared.messages)) as parts:
            async for part in parts:
                if isinstance(part, AnswerDelta):
                    yield _event("token", {"text": part.text})
                else:
                    yield _event("answer", answer_content(part))

    def _content(self, query: AskQuery) -> Json:
        """Return what the page shows before there is a question."""
        options, settings = self._search.options, self._service.settings
        return {
            "query": query.model_dump(exclude={"search"}),
            "defaults": {
                "k": options.k,
                "top_n": options.top_n,
                "threshold": options.threshold,
                "max_tokens": options.budget,
                "fusion": settings.fusion,
            },
            "language_model": self._search.language_model or None,
            "answer_threshold": settings.answer_threshold,
            "missing": None,
            "search": None,
            "prompt": None,
            "answer": None,
        }

    def _found(self, prepared: Prepared) -> Json:
        result = prepared.result
        tokens = sum(self._search.count_tokens(passage.ranked.document.text) for passage in result.passages)
        traced = self._service.traces is not None
        return {"search": search_content(result, tokens, traced=traced), "prompt": self._prompt(prepared)}

    def _prompt(self, prepared: Prepared) -> Json | None:
        """Return the messages of the prompt; None without passages, where the language model is not asked."""
        if not prepared.result.passages:
            return None
        counts = [self._search.count_tokens(message["content"]) for message in prepared.messages]
        messages = [{**message, "tokens": count} for message, count in zip(prepared.messages, counts, strict=True)]
        return {"messages": messages, "tokens": sum(counts)}


def _owner(visitor: Visitor) -> str:
    return visitor.key.id if visitor.key else ""


def _event(name: str, content: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(content) + b"\n\n"


def register(router: ConsoleRouter, service: Service) -> None:
    """Register the pages of questions."""
    pages = AskPages(service)
    router.page("/ask", "ask.html", pages.show)
    router.page("/ask/ranking/{request_id}", "ask.html", pages.ranking)
    router.action("/ask/answer", "ask.html", pages.answer)
