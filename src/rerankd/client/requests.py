"""Requests of the clients for rankings, scores, feedback and models, and the reading of their responses.

Each method is a flow (see `exchange`): it yields requests and pauses and returns the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Unpack

import httpx
import numpy as np
import numpy.typing as npt

from rerankd._common.instruction import check_instruction
from rerankd._common.validation import DocumentLike, to_pairs
from rerankd.client.exchange import Exchange, Flow
from rerankd.client.payload import json_text
from rerankd.client.rankings import RankOptions, build_ranking, read_rankings, split_rankings
from rerankd.client.responses import number, read_rows
from rerankd.errors import InvalidRequestError, RerankdError
from rerankd.types import RerankResult

DEFAULT_TOP_N = 5  # that of `Reranker`, whose module loads far more
PAIRS_PER_REQUEST = 1000


class RequestFlows:
    """Flows of everything that a client does at once.

    Args:
        exchange: the service.
        model: model to ask for; None for the service's default.
    """

    def __init__(self, exchange: Exchange, model: str | None) -> None:
        self._exchange, self.model = exchange, model

    def rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        top_n: int | None = DEFAULT_TOP_N,
        **options: Unpack[RankOptions],
    ) -> Flow[RerankResult]:
        """Rank documents, see `Client.rank`."""
        ranking = build_ranking(query, documents, top_n, self.model, **options)
        if not ranking.documents:
            return ranking.empty_result
        response = yield from self._exchange.send(
            "POST", "/v1/rerank", ranking.body, timeout=ranking.timeout, headers=ranking.headers
        )
        return ranking.read(response)

    def rank_many(
        self,
        queries: Sequence[str],
        documents: Sequence[Iterable[DocumentLike]],
        top_n: int | None = DEFAULT_TOP_N,
        **options: Unpack[RankOptions],
    ) -> Flow[list[RerankResult | RerankdError]]:
        """Rank the documents of many queries, see `Client.rank_many`."""
        if isinstance(queries, str) or len(queries) != len(documents):
            raise InvalidRequestError(
                "queries and documents do not match.", hint="Pass a list of queries and one list of documents for each."
            )
        rankings = [
            build_ranking(query, candidates, top_n, self.model, **options)
            for query, candidates in zip(queries, documents, strict=True)
        ]
        outcomes: list[RerankResult | RerankdError] = [ranking.empty_result for ranking in rankings]
        for positions in split_rankings(rankings):
            call = [rankings[position] for position in positions]
            body: dict[str, Any] = {"requests": [ranking.body for ranking in call]}
            response = yield from self._exchange.send(
                "POST", "/v1/rerank/batch", body, timeout=call[0].timeout, headers=call[0].headers
            )
            for position, outcome in zip(positions, read_rankings(response, call), strict=True):
                outcomes[position] = outcome
        return outcomes

    def rank_batch(
        self,
        queries: Sequence[str],
        documents: Sequence[Iterable[DocumentLike]],
        top_n: int | None = DEFAULT_TOP_N,
        **options: Unpack[RankOptions],
    ) -> Flow[list[RerankResult]]:
        """Rank the documents of many queries, see `Client.rank_batch`."""
        outcomes = yield from self.rank_many(queries, documents, top_n, **options)
        for position, outcome in enumerate(outcomes):
            if isinstance(outcome, RerankdError):
                outcome.add_note(f"It is the error of queries[{position}]; rank_many returns the other results.")
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, RerankResult)]

    def score(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        model: str | None,
        activation: Literal["sigmoid", "none"],
        instruction: str | None = None,
    ) -> Flow[npt.NDArray[np.float64]]:
        """Score pairs, see `Client.score`."""
        if activation not in ("sigmoid", "none"):
            raise InvalidRequestError(
                f"The activation of pairs is {activation!r}.",
                hint="Use sigmoid or none; a softmax needs the documents of one query.",
            )
        checked = to_pairs(pairs)
        options = {"model": model or self.model, "instruction": check_instruction(instruction)}
        fields = {name: value for name, value in options.items() if value}
        scores = np.empty(len(checked), dtype=np.float64)
        for start in range(0, len(checked), PAIRS_PER_REQUEST):
            part = checked[start : start + PAIRS_PER_REQUEST]
            body = fields | {
                "text_1": [json_text(pair.query) for pair in part],
                "text_2": [json_text(pair.document) for pair in part],
                "use_activation": activation == "sigmoid",
            }
            response = yield from self._exchange.send("POST", "/v1/score", body)
            rows = read_rows(response, "data", len(part), len(part))
            scores[[start + index for index, _ in rows]] = [number(row, "score") for _, row in rows]
        return scores

    def feedback(
        self, request_id: str, kind: str, *, index: int | None, document_id: str | None, value: float
    ) -> Flow[bool]:
        """Send feedback on a ranking, see `Client.feedback`."""
        body: dict[str, Any] = {"request_id": request_id, "kind": kind, "value": value}
        if index is not None:
            body["index"] = index
        if document_id is not None:
            body["document_id"] = document_id
        response = yield from self._exchange.send("POST", "/v1/feedback", body)
        return bool(response.get("pending") == 0)

    def models(self) -> Flow[list[str]]:
        """List the names of the service's models, see `Client.models`."""
        response = yield from self._exchange.send("GET", "/v1/models")
        models = response.get("data")
        if not isinstance(models, list) or not all(isinstance(row, dict) and "id" in row for row in models):
            raise RerankdError(
                f"{self._exchange.shown_url}/v1/models returned no list of models.", hint="Is it a rerankd service?"
            )
        return [str(row["id"]) for row in models]

    def ready(self) -> Flow[bool]:
        """Ask the service's readiness probe, see `Client.ready`."""
        outcome = yield self._exchange.request("GET", "/readyz", timeout=self._exchange.timeout)
        return isinstance(outcome, httpx.Response) and outcome.status_code == 200
