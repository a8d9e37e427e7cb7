"""The service's own clients: they rank like a local `Reranker`, on another machine.

    Client.rank -> Calls.rank -> Calls._exchange -> Client._run -> httpx

They only send and sleep; the rest is in calls.py, once for both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, Unpack

import httpx
import numpy as np
import numpy.typing as npt

from rerankd._common.validation import DocumentLike
from rerankd.client.job_requests import JobCalls, JobOptions
from rerankd.client.requests import (
    DEFAULT_TOP_N,
    Calls,
    Outcome,
    RankOptions,
    Steps,
    T,
)
from rerankd.client.responses import JobStatus
from rerankd.types import RerankResult


class Client:
    """Ranks on a rerankd service; `rank` and `score` are those of a local `Reranker`. Thread-safe.

    What can succeed later (429, 502, 503, 504 of a proxy, no connection) is sent again, after the time that the server
    names or else after a random time up to 0.25, 0.5, 1 ... 8 seconds, and never beyond `timeout`.

    Args:
        url: address of the service.
        api_key: key sent as a bearer token; None for `RERANKD_API_KEY`.
        model: model to ask for; None for the service's own.
        timeout: seconds that one call may take with all its retries; None for no limit.
        max_retries: how often a call is sent again at most.
        transport: an httpx transport, such as a mock for tests.

    Raises:
        InvalidRequestError: a url, key, timeout or max_retries that cannot be used.

    Example:
        >>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
        ...     client.rank("capital of France", ["Paris is the capital of France.", "Pears are fruit."])[0].index
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._calls = Calls(url, api_key, model, timeout, max_retries)
        self._jobs = JobCalls(self._calls)
        self._http = httpx.Client(transport=transport)
        self._sleep = time.sleep

    def rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        top_n: int | None = DEFAULT_TOP_N,
        **options: Unpack[RankOptions],
    ) -> RerankResult:
        """Put the documents that answer the query first.

        Args:
            query: the question.
            documents: strings, `Document`s, or dicts with `text` and optionally `id` and `metadata`; texts
                travel, and ids with a `score` in `metadata`, for the service's traces.
            top_n: how many to keep; None keeps all.
            model: overrides the client's for this call.
            activation: `sigmoid` (the default), `none`, or `softmax` over the documents.
            threshold: lowest sigmoid score of a document to keep, from 0 to 1.
            fusion: `weighted` or `rrf` counts the first stage's order, or `metadata["score"]`, in; None as the
                service is set up.
            fusion_weight: of the first stage; the model's is 1.
            send_metadata: whether all of the documents' metadata travels, for the service's rules and traces.
            max_length: longest pair in tokens.
            truncation: `only_second` or `longest_first`.
            long_documents: `truncate` or `chunk`.
            cache: whether the service may use scores it has kept.
            timeout: overrides the client's for this call, in seconds.
            user: who asks; experiments treat the same user the same.
            session: the same, of a visit.

        Returns:
            The best `top_n`, best first. `raw_score` is NaN if the server names none.

        Raises:
            InvalidRequestError: an empty query, something that is not a document, or what the service refuses.
            UnavailableError: the service cannot be reached, starts or ends; retries are used up.
            OverloadedError: the service is busy; retries are used up.
            DeadlineExceededError: no answer within the timeout.
            AuthenticationError: the key is missing or not known.
            ScoringError: scores that cannot belong to these documents.

        Example:
            >>> Client().rank("what eats bamboo?", ["A panda.", "A car."], top_n=1)[0].document.text  # doctest: +SKIP
            'A panda.'
        """
        return self._run(self._calls.rank(query, documents, top_n, **options))

    def score(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        model: str | None = None,
        activation: Literal["sigmoid", "none"] = "sigmoid",
    ) -> npt.NDArray[np.float64]:
        """Score (query, document) pairs as they come, a thousand per call; each call has the client's timeout.

        Returns:
            Scores in the order of the pairs, shape (pairs,), float64. Errors are those of `rank`.

        Example:
            >>> Client().score([("what is a panda?", "The panda is a bear.")]).shape  # doctest: +SKIP
            (1,)
        """
        return self._run(self._calls.score(pairs, model=model, activation=activation))

    def submit(self, requests: Iterable[Mapping[str, Any]], **options: Unpack[JobOptions]) -> JobStatus:
        """Hand in rankings that are fetched later.

        Args:
            requests: objects with `query` and `documents`, and whatever else `/v1/rerank` takes.
            priority: `interactive` goes before `bulk`.
            timeout: seconds after which what was not begun is not done.
            webhook: address that is told of the end.
            idempotency_key: the same key and requests are one job; without it one is made, so that retries are safe.

        Errors are those of `rank`.

        Example:
            >>> job = Client().submit([{"query": "what eats bamboo?", "documents": ["A panda."]}])  # doctest: +SKIP
            >>> Client().wait(job.id).results[0]["results"][0]["index"]  # doctest: +SKIP
            0
        """
        return self._run(self._jobs.submit(requests, options))

    def job(self, job: str) -> JobStatus:
        """Look at a job, with its results once it has ended."""
        return self._run(self._jobs.job(job))

    def wait(self, job: str, timeout: float | None = None) -> JobStatus:
        """Wait until a job has ended.

        Raises:
            DeadlineExceededError: it has not within `timeout` seconds; it goes on.
        """
        return self._run(self._jobs.wait(job, timeout))

    def cancel(self, job: str) -> JobStatus:
        """End a job; one that has ended stays as it is."""
        return self._run(self._jobs.cancel(job))

    def feedback(
        self,
        request_id: str,
        kind: Literal["click", "citation", "thumb", "grade"],
        *,
        index: int | None = None,
        document_id: str | None = None,
        value: float = 1.0,
    ) -> bool:
        """Say what became of a ranking, so that the service can tell whether it helped.

        Args:
            request_id: that of the `RerankResult`.
            kind: `click`; `citation`: the document was used in the answer; `thumb`; `grade`: of relevance.
            index: the document's place in the list that was ranked, from 0; None for the whole ranking.
            document_id: or its id.
            value: of a thumb 1 or -1, of a grade from 0 to 100.

        Returns:
            Whether the ranking is known already; if not, the service waits for its trace.

        Raises:
            InvalidRequestError: what the service refuses. The other errors are those of `rank`.

        Example:
            >>> client.feedback(result.request_id, "click", index=result[0].index)  # doctest: +SKIP
            True
        """
        return self._run(self._calls.feedback(request_id, kind, index=index, document_id=document_id, value=value))

    def models(self) -> list[str]:
        """Return the names of the models that the service offers."""
        return self._run(self._calls.models())

    def ready(self) -> bool:
        """Tell whether the service takes requests now; False if it cannot be reached."""
        return self._run(self._calls.ready())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _run(self, steps: Steps[T]) -> T:
        outcome: Outcome | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, httpx.Request):
                try:
                    outcome = self._http.send(step)
                except httpx.HTTPError as error:
                    outcome = error
            else:
                self._sleep(step)

    def __repr__(self) -> str:
        return f"Client({self._calls.shown_url!r}, model={self._calls.model!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """The same methods as `Client` with `await`, and the same arguments.

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
        self._calls = Calls(url, api_key, model, timeout, max_retries)
        self._jobs = JobCalls(self._calls)
        self._http = httpx.AsyncClient(transport=transport)
        self._sleep = asyncio.sleep

    async def rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        top_n: int | None = DEFAULT_TOP_N,
        **options: Unpack[RankOptions],
    ) -> RerankResult:
        """As `Client.rank`."""
        return await self._run(self._calls.rank(query, documents, top_n, **options))

    async def score(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        model: str | None = None,
        activation: Literal["sigmoid", "none"] = "sigmoid",
    ) -> npt.NDArray[np.float64]:
        """As `Client.score`."""
        return await self._run(self._calls.score(pairs, model=model, activation=activation))

    async def submit(self, requests: Iterable[Mapping[str, Any]], **options: Unpack[JobOptions]) -> JobStatus:
        """As `Client.submit`."""
        return await self._run(self._jobs.submit(requests, options))

    async def job(self, job: str) -> JobStatus:
        """As `Client.job`."""
        return await self._run(self._jobs.job(job))

    async def wait(self, job: str, timeout: float | None = None) -> JobStatus:
        """As `Client.wait`."""
        return await self._run(self._jobs.wait(job, timeout))

    async def cancel(self, job: str) -> JobStatus:
        """As `Client.cancel`."""
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
        """As `Client.feedback`."""
        steps = self._calls.feedback(request_id, kind, index=index, document_id=document_id, value=value)
        return await self._run(steps)

    async def models(self) -> list[str]:
        """As `Client.models`."""
        return await self._run(self._calls.models())

    async def ready(self) -> bool:
        """As `Client.ready`."""
        return await self._run(self._calls.ready())

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _run(self, steps: Steps[T]) -> T:
        outcome: Outcome | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, httpx.Request):
                try:
                    outcome = await self._http.send(step)
                except httpx.HTTPError as error:
                    outcome = error
            else:
                await self._sleep(step)

    def __repr__(self) -> str:
        return f"AsyncClient({self._calls.shown_url!r}, model={self._calls.model!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
