"""The client of a rerankd service.

    Client.rank -> RequestFlows.rank -> Exchange.send -> Client._run -> httpx

The client only sends and sleeps; everything else is sans-IO and shared with `AsyncClient`.
"""

from __future__ import annotations

import time
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


class Client:
    """Client of a rerankd service; `rank` and `score` are those of a local `Reranker`. Thread-safe.

    Errors that a retry can fix (429, 502, 503, 504 of a proxy, no connection) are retried: after the time in
    Retry-After, else after an exponential backoff with full jitter (at most 0.25, 0.5, 1 ... 8 seconds), and never
    beyond `timeout`.

    Args:
        url: address of the service.
        api_key: key sent as a bearer token; None for `RERANKD_API_KEY`.
        model: model to ask for; None for the service's default.
        timeout: seconds that one call may take, retries included; None for no limit.
        max_retries: retries of one request at most.
        transport: an httpx transport, such as a mock for tests.

    Raises:
        InvalidRequestError: a url, api_key, timeout or max_retries that cannot be used.

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
        self._exchange = Exchange(url, api_key, timeout, max_retries)
        self._flows = RequestFlows(self._exchange, model)
        self._jobs = JobFlows(self._exchange, model)
        self._http = httpx.Client(transport=transport, trust_env=transport is None and uses_proxies(url))
        self._sleep = time.sleep

    def rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        top_n: int | None = DEFAULT_TOP_N,
        **options: Unpack[RankOptions],
    ) -> RerankResult:
        """Rank documents by how well they answer the query.

        Args:
            query: the question.
            documents: strings, `Document`s, or dicts with `text` and optionally `id` and `metadata`. Texts are sent,
                and ids with the `score` in `metadata`, for the service's traces.
            top_n: number of documents to return; None returns all.
            model: overrides the client's model for this call.
            activation: `sigmoid` (the default), `none`, or `softmax` over the documents.
            threshold: lowest sigmoid score of a document to return, from 0 to 1.
            fusion: `weighted` or `rrf` combines the model's scores with the first stage's order, or with
                `metadata["score"]`; None for the service's setting.
            fusion_weight: weight of the first stage; the model's is 1.
            instruction: what counts as relevant; None for the service's setting. A model that reads none ignores it,
                and `RerankResult.warnings` says so.
            send_metadata: True sends all metadata of the documents, for the service's rules and traces.
            max_length: longest pair in tokens.
            truncation: `only_second` or `longest_first`.
            long_documents: `truncate` or `chunk`.
            cache: False makes the service score afresh instead of using cached scores.
            priority: urgency in the service's queue, from 0, the most urgent, to 999; None for the most urgent that the
                key may have. For a more urgent one the key's own is used, and `RerankResult.warnings` says so.
            spans: `SpanOptions` to also score the sentences of the returned documents, as `RankedDocument.spans`.
            timeout: overrides the client's timeout for this call, in seconds.
            user: id of the user in your own words; experiments assign the same user the same variant.
            session: id of the visit, for the same purpose.

        Returns:
            The best `top_n`, best first. `raw_score` and `timings` are NaN where the server names none.

        Raises:
            InvalidRequestError: an empty query, something that is not a document, or a request the service rejects.
            UnavailableError: the service cannot be reached, starts or stops, and retries are used up.
            OverloadedError: the service is overloaded, and retries are used up.
            RateLimitedError: the key is over its rate limit or quota, and retries are used up.
            DeadlineExceededError: no response within the timeout.
            AuthenticationError: the key is missing or unknown.
            ScoringError: scores that cannot belong to these documents.

        Example:
            >>> Client().rank("what eats bamboo?", ["A panda.", "A car."], top_n=1)[0].document.text  # doctest: +SKIP
            'A panda.'
        """
        return self._run(self._flows.rank(query, documents, top_n, **options))

    def rank_batch(
        self,
        queries: Sequence[str],
        documents: Sequence[Iterable[DocumentLike]],
        top_n: int | None = DEFAULT_TOP_N,
        **options: Unpack[RankOptions],
    ) -> list[RerankResult]:
        """Rank several queries, each with its own documents, in one call, as `Reranker.rank_batch` does.

        The service admits them together and computes them together; `timeout` is for all of them. More than 1,000
        queries or 10,000 documents are several calls.

        Args:
            queries: the queries.
            documents: one list of documents for each query.
            top_n: number of documents to return for each query; None returns all.
            **options: the keyword arguments of `rank`.

        Returns:
            One result for each query, in their order.

        Raises:
            RerankdError: as for `rank`; the error of the first query that has one. `rank_many` returns it instead.

        Example:
            >>> Client().rank_batch(["panda food", "fuel"], [["Bamboo."], ["Petrol.", "Snow."]])  # doctest: +SKIP
            [RerankResult(...), RerankResult(...)]
        """
        return self._run(self._flows.rank_batch(queries, documents, top_n, **options))

    def rank_many(
        self,
        queries: Sequence[str],
        documents: Sequence[Iterable[DocumentLike]],
        top_n: int | None = DEFAULT_TOP_N,
        **options: Unpack[RankOptions],
    ) -> list[RerankResult | RerankdError]:
        """Rank several queries as `rank_batch` does, and return the error of a query in place of its result.

        Raises:
            RerankdError: an error of the whole call, such as an overloaded service.
        """
        return self._run(self._flows.rank_many(queries, documents, top_n, **options))

    def score(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        model: str | None = None,
        activation: Literal["sigmoid", "none"] = "sigmoid",
        instruction: str | None = None,
    ) -> npt.NDArray[np.float64]:
        """Score (query, document) pairs without ranking them.

        A request carries a thousand pairs; each request has the client's timeout.

        Args:
            pairs: pairs of strings.
            model: overrides the client's model for this call.
            activation: `sigmoid`, or `none` for logits.
            instruction: what counts as relevant; None for the service's setting.

        Returns:
            Scores in the order of the pairs, shape (pairs,), float64.

        Raises:
            RerankdError: as for `rank`.

        Example:
            >>> Client().score([("what is a panda?", "The panda is a bear.")]).shape  # doctest: +SKIP
            (1,)
        """
        return self._run(self._flows.score(pairs, model=model, activation=activation, instruction=instruction))

    def submit(self, requests: Iterable[Mapping[str, Any]], **options: Unpack[SubmitOptions]) -> JobStatus:
        """Submit rankings that are computed in the background and fetched later.

        Args:
            requests: objects with `query` and `documents`, and with any other field of `/v1/rerank`.
            priority: `interactive` or `bulk`; interactive jobs come first.
            timeout: seconds after which the job expires; parts that have not started are dropped.
            webhook: address that is called when the job ends.
            idempotency_key: submissions with the same key and requests are one job. Without it the client makes a key,
                so that its own retries do not submit the job twice.

        Returns:
            The job as it was accepted.

        Raises:
            RerankdError: as for `rank`.

        Example:
            >>> job = Client().submit([{"query": "what eats bamboo?", "documents": ["A panda."]}])  # doctest: +SKIP
            >>> Client().wait(job.id).results[0]["results"][0]["index"]  # doctest: +SKIP
            0
        """
        return self._run(self._jobs.submit(requests, options))

    def job(self, job: str) -> JobStatus:
        """Fetch the state of a job, with its results once it has ended.

        Args:
            job: id of the job.

        Raises:
            NotFoundError: the service has no such job.
        """
        return self._run(self._jobs.job(job))

    def wait(self, job: str, timeout: float | None = None) -> JobStatus:
        """Wait until a job has ended.

        Args:
            job: id of the job.
            timeout: seconds to wait; None for no limit.

        Raises:
            DeadlineExceededError: the job has not ended within `timeout` seconds; it goes on.
            NotFoundError: the service has no such job.
        """
        return self._run(self._jobs.wait(job, timeout))

    def cancel(self, job: str) -> JobStatus:
        """Cancel a job; one that has ended stays as it is.

        Args:
            job: id of the job.

        Raises:
            NotFoundError: the service has no such job.
        """
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
        """Send feedback on a ranking: a click, a citation, a thumb or a grade.

        Args:
            request_id: `request_id` of the `RerankResult`.
            kind: `click`; `citation` if the document was used in an answer; `thumb`; `grade` of relevance.
            index: position of the document in the list that was ranked, from 0; None for the whole ranking.
            document_id: id of the document, instead of `index`.
            value: 1 or -1 for a thumb, 0 to 100 for a grade.

        Returns:
            True if the service has the ranking's trace; False if it keeps the feedback until the trace is written.

        Raises:
            InvalidRequestError: feedback that the service rejects; other errors as for `rank`.

        Example:
            >>> client.feedback(result.request_id, "click", index=result[0].index)  # doctest: +SKIP
            True
        """
        return self._run(self._flows.feedback(request_id, kind, index=index, document_id=document_id, value=value))

    def models(self) -> list[str]:
        """Return the names of the models that the service offers."""
        return self._run(self._flows.models())

    def ready(self) -> bool:
        """Return True if the service accepts requests now; False if it does not or cannot be reached."""
        return self._run(self._flows.ready())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _run(self, flow: Flow[T]) -> T:
        outcome: Outcome | None = None
        while True:
            try:
                action = flow.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(action, httpx.Request):
                try:
                    outcome = self._http.send(action)
                except httpx.HTTPError as error:
                    outcome = error
            else:
                self._sleep(action)

    def __repr__(self) -> str:
        return f"Client({self._exchange.shown_url!r}, model={self._flows.model!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
