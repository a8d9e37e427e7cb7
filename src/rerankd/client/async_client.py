"""The client of a rerankd service for asyncio programs. It only sends and sleeps, see `client`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, Unpack

import httpx
import numpy as np
import numpy.typing as npt

from rerankd._common.proxies import uses_proxies
from rerankd._common.validation import DocumentLike
from rerankd.client.exchange import Exchange, Flow, Outcome, T
from rerankd.client.job_requests import JobFlows, SubmitOptions
from rerankd.client.rankings import RankOptions
from rerankd.client.requests import DEFAULT_TOP_N, RequestFlows
from rerankd.client.responses import JobStatus
from rerankd.errors import RerankdError
from rerankd.types import RerankResult


class AsyncClient:
    """Client of a rerankd service for asyncio programs: the methods and arguments of `Client`, with `await`.

    Example:
        >>> async def main() -> int:
        ...     async with AsyncClient("http://127.0.0.1:8000") as client:
        ...         return (await client.rank("panda food", ["Pandas eat bamboo.", "Cars."]))[0].index
        >>> asyncio.run(main())  # doctest: +SKIP
        0
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        model: str | None = None,
        timeout: float | None = 60.0,
        max_retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._exchange = Exchange(url, api_key, timeout, max_retries)
        self._flows = RequestFlows(self._exchange, model)
        self._jobs = JobFlows(self._exchange, model)
        self._http = httpx.AsyncClient(transport=transport, trust_env=transport is None and uses_proxies(url))
        self._sleep = asyncio.sleep

    async def rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        top_n: int | None = DEFAULT_TOP_N,
        **options: Unpack[RankOptions],
    ) -> RerankResult:
        """Do what `Client.rank` does."""
        return await self._run(self._flows.rank(query, documents, top_n, **options))

    async def rank_batch(
        self,
        queries: Sequence[str],
        documents: Sequence[Iterable[DocumentLike]],
        top_n: int | None = DEFAULT_TOP_N,
        **options: Unpack[RankOptions],
    ) -> list[RerankResult]:
        """Do what `Client.rank_batch` does."""
        return await self._run(self._flows.rank_batch(queries, documents, top_n, **options))

    async def rank_many(
        self,
        queries: Sequence[str],
        documents: Sequence[Iterable[DocumentLike]],
        top_n: int | None = DEFAULT_TOP_N,
        **options: Unpack[RankOptions],
    ) -> list[RerankResult | RerankdError]:
        """Do what `Client.rank_many` does."""
        return await self._run(self._flows.rank_many(queries, documents, top_n, **options))

    async def score(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        model: str | None = None,
        activation: Literal["sigmoid", "none"] = "sigmoid",
        instruction: str | None = None,
    ) -> npt.NDArray[np.float64]:
        """Do what `Client.score` does."""
        return await self._run(self._flows.score(pairs, model=model, activation=activation, instruction=instruction))

    async def submit(self, requests: Iterable[Mapping[str, Any]], **options: Unpack[SubmitOptions]) -> JobStatus:
        """Do what `Client.submit` does."""
        return await self._run(self._jobs.submit(requests, options))

    async def job(self, job: str) -> JobStatus:
        """Do what `Client.job` does."""
        return await self._run(self._jobs.job(job))

    async def wait(self, job: str, timeout: float | None = None) -> JobStatus:
        """Do what `Client.wait` does."""
        return await self._run(self._jobs.wait(job, timeout))

    async def cancel(self, job: str) -> JobStatus:
        """Do what `Client.cancel` does."""
        return await self._run(self._jobs.cancel(job))

    async def feedback(
        self,
        request_id: str,
        kind: Literal["click", "citation", "thumb", "grade"],
        *,
        index: int | None = None,
        document_id: str | None = None,
        value: float = 1.0,
    ) -> bool:
        """Do what `Client.feedback` does."""
        flow = self._flows.feedback(request_id, kind, index=index, document_id=document_id, value=value)
        return await self._run(flow)

    async def models(self) -> list[str]:
        """Do what `Client.models` does."""
        return await self._run(self._flows.models())

    async def ready(self) -> bool:
        """Do what `Client.ready` does."""
        return await self._run(self._flows.ready())

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _run(self, flow: Flow[T]) -> T:
        outcome: Outcome | None = None
        while True:
            try:
                action = flow.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(action, httpx.Request):
                try:
                    outcome = await self._http.send(action)
                except httpx.HTTPError as error:
                    outcome = error
            else:
                await self._sleep(action)

    def __repr__(self) -> str:
        return f"AsyncClient({self._exchange.shown_url!r}, model={self._flows.model!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
