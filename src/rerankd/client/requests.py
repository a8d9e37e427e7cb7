"""Requests of the clients for rankings, scores, feedback and models, and the reading of their responses.

Each method is a flow (see `exchange`): it yields requests and pauses and returns the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypedDict

import httpx
import numpy as np
import numpy.typing as npt

from rerankd._common.instruction import check_instruction
from rerankd._common.timing import complete_timings
from rerankd._common.validation import (
    DocumentLike,
    check_positive,
    plain_integer,
    to_documents,
    to_pairs,
    to_query,
)
from rerankd.client.exchange import Exchange, Flow, check_timeout
from rerankd.client.payload import check_unit_headers, document_payload, json_text
from rerankd.client.responses import number, read_ranking, read_rows
from rerankd.errors import InvalidRequestError, RerankdError
from rerankd.ranking.activation import check_activation
from rerankd.ranking.order import checked_fusion, checked_threshold
from rerankd.types import Activation, LongDocuments, RerankResult, Truncation, Usage

DEFAULT_TOP_N = 5  # that of `Reranker`, whose module loads far more
PAIRS_PER_REQUEST = 1000


class RankOptions(TypedDict, total=False):
    """The keyword arguments of `Client.rank`."""

    model: str | None
    activation: Activation
    threshold: float | None
    fusion: str | None
    fusion_weight: float | None
    instruction: str | None
    send_metadata: bool
    max_length: int | None
    truncation: Truncation | None
    long_documents: LongDocuments | None
    cache: bool | None
    timeout: float | None
    user: str | None
    session: str | None


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
        *,
        model: str | None = None,
        activation: Activation = "sigmoid",
        threshold: float | None = None,
        fusion: str | None = None,
        fusion_weight: float | None = None,
        instruction: str | None = None,
        send_metadata: bool = False,
        max_length: int | None = None,
        truncation: Truncation | None = None,
        long_documents: LongDocuments | None = None,
        cache: bool | None = None,
        timeout: float | None = None,
        user: str | None = None,
        session: str | None = None,
    ) -> Flow[RerankResult]:
        """Rank documents, see `Client.rank`."""
        check_activation(activation)
        check_positive(top_n=top_n)
        threshold = checked_threshold(threshold)
        checked_fusion(fusion, fusion_weight)
        candidates = to_documents(documents)
        options: dict[str, Any] = {
            "model": model or self.model,
            "threshold": threshold if activation != "softmax" else None,
            "fusion": fusion,
            "fusion_weight": None if fusion_weight is None else float(fusion_weight),
            "instruction": check_instruction(instruction),
            "max_length": plain_integer(max_length),
            "truncation": truncation,
            "long_documents": long_documents,
            "cache": cache,
            "timeout": check_timeout(timeout),
        }
        body = {
            "query": json_text(to_query(query)),
            "documents": [document_payload(document, with_metadata=send_metadata) for document in candidates],
            # A softmax is over all documents, so all scores are needed, and the threshold is applied here.
            "top_n": None if activation == "softmax" else plain_integer(top_n),
            "return_documents": False,
            "explain": True,
            "raw_scores": activation != "sigmoid",
        } | {name: value for name, value in options.items() if value is not None}
        if not candidates:
            return RerankResult((), model or self.model or "", Usage(0, 0, 0), complete_timings({}, missing=0.0))
        units = {name: value for name, value in (("X-Rerankd-User", user), ("X-Rerankd-Session", session)) if value}
        response = yield from self._exchange.send(
            "POST", "/v1/rerank", body, timeout=timeout, headers=check_unit_headers(units)
        )
        return read_ranking(response, candidates, top_n, activation, threshold)

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
