"""Search over the index of one instance; index and language model are opened for the first question."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rerankd.pipeline.pipeline import Pipeline
from rerankd.pipeline.scores import Charge
from rerankd.ranking.activation import activate
from rerankd.ranking.requests import build_request
from rerankd.retrieval.chat import ChatModel
from rerankd.retrieval.rag import Rag
from rerankd.retrieval.retriever import Retriever
from rerankd.retrieval.selection import SearchOptions
from rerankd.retrieval.splitting import TokenOffsets
from rerankd.settings import Settings
from rerankd.types import RerankRequest, RerankResult
from rerankd.wiring.retrieval import index_folder, open_chat, open_retriever, open_token_offsets


class SearchService:
    """Retrieval-augmented search of one instance.

    Args:
        settings: settings of the service.
        pipeline: ranks the documents of the first stage.

    Raises:
        InvalidRequestError: the settings of the language model contradict each other.
    """

    def __init__(self, settings: Settings, pipeline: Pipeline) -> None:
        self._settings, self._pipeline = settings, pipeline
        self._chat: ChatModel | None = open_chat(settings)
        self._opening = asyncio.Lock()
        self._retriever: Retriever | None = None
        self._offsets: TokenOffsets | None = None

    @property
    def options(self) -> SearchOptions:
        """Default options of a question."""
        settings = self._settings
        return SearchOptions(settings.search_k, settings.top_n, settings.search_threshold, settings.search_tokens)

    @property
    def language_model(self) -> str:
        """Name of the language model; empty for none."""
        return "" if self._chat is None else self._chat.name

    @property
    def index(self) -> str:
        """Folder of the index; empty if the first stage is a server."""
        return str(index_folder(self._settings)) if self._settings.retriever == "lance" else ""

    async def rag(self, charge: Charge | None, settle: Charge, template: RerankRequest | None = None) -> Rag:
        """Return the retrieval pipeline of one question.

        Args:
            charge: charges the estimated tokens before the ranking; None for no charge.
            settle: called with the computed tokens after the ranking.
            template: request that the sentences of an answer are scored as; None for one without a tenant.

        Raises:
            NotFoundError: there is no index yet.
            UnavailableError: the first stage is out of reach.
        """
        retriever, offsets = await self.retriever(), await self._token_offsets()

        async def rank(request: RerankRequest) -> RerankResult:
            result = await self._pipeline.run(request, charge)
            await settle(result.computed_tokens or 0)
            return result

        async def score(groups: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
            scores = (await self._pipeline.score(groups, template or build_request("", ()), charge)).result
            await settle(scores.computed_tokens)
            return [activate([pair.raw_score for pair in group], "sigmoid").tolist() for group in scores.scores]

        expand, threshold = self._pipeline.rules.expand_query, self._settings.answer_threshold
        return Rag(retriever, rank, offsets, self._chat, expand, score, threshold)

    async def retriever(self) -> Retriever:
        """Return the first stage; it is opened for the first request.

        Raises:
            NotFoundError: there is no index yet.
            UnavailableError: the first stage is out of reach.
        """
        async with self._opening:
            if self._retriever is None:
                self._retriever = await asyncio.to_thread(open_retriever, self._settings)
            return self._retriever

    async def _token_offsets(self) -> TokenOffsets:
        async with self._opening:
            if self._offsets is None:
                self._offsets = await asyncio.to_thread(open_token_offsets, self._settings)
            return self._offsets

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, as the budget of a question counts them."""
        return 0 if self._offsets is None else len(self._offsets(text))

    async def close(self) -> None:
        """Close the retriever and the language model."""
        if self._retriever is not None:
            await asyncio.to_thread(self._retriever.close)
        if self._chat is not None:
            await self._chat.close()
