"""Retrieval-augmented generation: retrieve fifty candidates, rerank to five passages, answer with citations.

    question -> synonyms of the rules -> retriever (k) -> reranker -> threshold -> duplicates -> token budget -> answer

No score is computed here: the ranking function is passed in, from a service's pipeline or a library's reranker.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from rerankd._common.logging import logger
from rerankd._common.validation import to_query
from rerankd.errors import RerankdError
from rerankd.ranking.order import checked_threshold
from rerankd.ranking.requests import build_request
from rerankd.retrieval.answer import Answer, AnswerDelta, SearchResult
from rerankd.retrieval.answer_draft import AnswerDraft
from rerankd.retrieval.attribution import DEFAULT_SUPPORT, AnswerSentence, ScoreFunction, attribute, split_answer
from rerankd.retrieval.chat import ChatModel
from rerankd.retrieval.prompt import NO_ANSWER, build_messages
from rerankd.retrieval.retriever import Retriever
from rerankd.retrieval.selection import SearchOptions, select_passages
from rerankd.retrieval.splitting import TokenOffsets
from rerankd.rules.rule_set import language_of
from rerankd.types import RerankRequest, RerankResult

_log = logger(__name__)
RankFunction = Callable[[RerankRequest], Awaitable[RerankResult]]
ExpandFunction = Callable[[str, str], str]


class Rag:
    """A first stage, a reranker and optionally a language model behind one interface.

    Args:
        retriever: the first stage.
        rank: reranks the candidates of a request.
        offsets: token offsets of a text, for the token budget.
        chat: the language model; None to return passages alone.
        expand: adds synonyms to the query of a tenant; called with query and tenant.
        score: scores the sentences of an answer with its passages, to support those without a citation; None not to.
        support: lowest score, 0 to 1, at which a passage supports a sentence.
    """

    def __init__(
        self,
        retriever: Retriever,
        rank: RankFunction,
        offsets: TokenOffsets,
        chat: ChatModel | None = None,
        expand: ExpandFunction = lambda query, tenant: query,
        score: ScoreFunction | None = None,
        support: float = DEFAULT_SUPPORT,
    ) -> None:
        self._retriever, self._rank, self._offsets = retriever, rank, offsets
        self._chat, self._expand = chat, expand
        self._score, self._support = score, support

    async def search(
        self, query: str, options: SearchOptions | None = None, request: RerankRequest | None = None
    ) -> SearchResult:
        """Find the passages that answer a question.

        Args:
            query: the question.
            options: number and quality of the passages.
            request: template of the ranking request, such as its tenant and id; query and documents are filled in.

        Raises:
            RerankdError: the question is invalid, or the first stage or the model cannot serve it now.
        """
        query, options = to_query(query), options or SearchOptions()
        checked_threshold(options.threshold)
        template = request or build_request(query, [])
        if not template.request_id:
            template = replace(template, request_id=secrets.token_hex(16))
        timings: dict[str, float] = {}
        started = time.perf_counter()
        expanded_query = self._expand(query, template.tenant)
        documents = await asyncio.to_thread(self._retriever.search, expanded_query, options.k)
        timings["retrieve"], started = _milliseconds_since(started)
        ranking_request = replace(
            template, query=query, documents=documents, top_n=None, activation="sigmoid", threshold=None
        )
        result = await self._rank(ranking_request) if documents else None
        timings["rerank"], started = _milliseconds_since(started)
        passages = select_passages(result.results if result else (), options, self._offsets)
        timings["select"], started = _milliseconds_since(started)
        return SearchResult(
            query=query,
            expanded_query=expanded_query,
            passages=tuple(passage for passage in passages if not passage.dropped),
            dropped=tuple(passage for passage in passages if passage.dropped),
            model=result.model if result else "",
            rules=result.rules if result else "",
            timings=timings,
            request_id=template.request_id,
            version=result.version if result else "",
            experiment=result.experiment if result else "",
            warnings=result.warnings if result else (),
        )

    async def ask(
        self, query: str, options: SearchOptions | None = None, request: RerankRequest | None = None
    ) -> AsyncGenerator[SearchResult | AnswerDelta | Answer, None]:
        """Answer a question as a stream: the search result, then deltas of the answer, then the whole answer.

        A failure of the language model is reported in `Answer.error`: the passages are valid all the same.
        """
        result = await self.search(query, options, request)
        yield result
        async with aclosing(self.generate(result)) as parts:
            async for part in parts:
                yield part

    async def generate(
        self, result: SearchResult, messages: Sequence[dict[str, str]] | None = None
    ) -> AsyncGenerator[AnswerDelta | Answer, None]:
        """Answer a question from passages that were found, as `ask` does after its search.

        Args:
            result: the passages.
            messages: prompt; None for that of `build_messages`.
        """
        if not result.passages:
            yield Answer(None, result, refusal=NO_ANSWER[language_of(result.query)])
            return
        if self._chat is None:
            yield Answer(None, result)
            return
        draft = AnswerDraft(len(result.passages))
        started, error = time.perf_counter(), None
        try:
            async with aclosing(self._chat.stream(messages or build_messages(result))) as deltas:
                async for delta in deltas:
                    if text := draft.feed(delta):
                        yield AnswerDelta(text)
        except RerankdError as failure:
            error = failure
        if rest := draft.flush():
            yield AnswerDelta(rest)
        timings = dict(result.timings)
        timings["answer"], started = _milliseconds_since(started)
        error = error or draft.error
        sentences = await self._sentences(draft.text, result) if error is None else ()
        timings["support"], started = _milliseconds_since(started)
        yield Answer(
            text=draft.text or None,
            search=replace(result, timings=timings),
            citations=tuple(draft.citations.cited),
            invalid_citations=tuple(draft.citations.invalid),
            error=error,
            sentences=sentences,
        )

    async def _sentences(self, text: str, result: SearchResult) -> tuple[AnswerSentence, ...]:
        """Return the sentences of an answer, those without a citation matched to passages.

        A model that cannot score now costs the match, not the answer.
        """
        answer = split_answer(text, len(result.passages))
        if self._score is not None:
            try:
                passages = [passage.ranked.document.text for passage in result.passages]
                answer = await attribute(answer, passages, self._score, self._support)
            except RerankdError as error:
                _log.warning("The answer's sentences are not matched to passages: %s", error)
        return tuple(answer)

    async def answer(
        self, query: str, options: SearchOptions | None = None, request: RerankRequest | None = None
    ) -> Answer:
        """Answer a question like `ask`, and return the whole answer only."""
        async for part in self.ask(query, options, request):
            if isinstance(part, Answer):
                return part
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Close the retriever and the language model's connections."""
        await asyncio.to_thread(self._retriever.close)
        if self._chat is not None:
            await self._chat.close()


def _milliseconds_since(started: float) -> tuple[float, float]:
    """Return the milliseconds since `started`, and the current time."""
    now = time.perf_counter()
    return (now - started) * 1000, now
