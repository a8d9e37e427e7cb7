"""Rankings as requests carry them, alone or many in one call, and the reading of their responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from rerankd._common.instruction import check_instruction
from rerankd._common.timing import complete_timings
from rerankd._common.validation import DocumentLike, check_positive, plain_integer, to_documents, to_query
from rerankd.client.exchange import check_timeout, read_error
from rerankd.client.payload import check_unit_headers, document_payload, json_text
from rerankd.client.responses import MISMATCH_HINT, number, read_ranking, read_rows
from rerankd.errors import RerankdError, ScoringError
from rerankd.ranking.activation import check_activation
from rerankd.ranking.order import checked_fusion, checked_threshold
from rerankd.ranking.priority import check_priority
from rerankd.ranking.spans import check_spans
from rerankd.types import Activation, Document, LongDocuments, RerankResult, SpanOptions, Truncation, Usage

MAX_QUERIES, MAX_DOCUMENTS = 1000, 10_000
"""Rankings and documents of one call at most: what a service allows by default."""


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
    priority: int | None
    spans: SpanOptions | None
    timeout: float | None
    user: str | None
    session: str | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """One ranking to ask a service for.

    Attributes:
        body: object of the request's body.
        documents: the documents, whose texts are in the body.
        top_n: number of documents to return; None for all.
        activation: activation of the scores to return.
        threshold: lowest sigmoid score to return; None for all.
        timeout: seconds for the request, retries included; None for the client's.
        headers: headers that name user and session.
    """

    body: dict[str, Any]
    documents: Sequence[Document]
    top_n: int | None
    activation: Activation
    threshold: float | None
    timeout: float | None
    headers: Mapping[str, str]

    def read(self, response: Mapping[str, Any]) -> RerankResult:
        """Read the response.

        Raises:
            ScoringError: scores that cannot belong to the documents.
        """
        return read_ranking(response, self.documents, self.top_n, self.activation, self.threshold)

    @property
    def empty_result(self) -> RerankResult:
        """Result of a ranking without documents, for which nobody is asked."""
        return RerankResult((), self.body.get("model") or "", Usage(0, 0, 0), complete_timings({}, missing=0.0))


def build_ranking(
    query: str,
    documents: Iterable[DocumentLike],
    top_n: int | None,
    default_model: str | None,
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
    priority: int | None = None,
    spans: SpanOptions | None = None,
    timeout: float | None = None,
    user: str | None = None,
    session: str | None = None,
) -> Ranking:
    """Build a ranking; the keyword arguments are those of `Client.rank`.

    Args:
        query: the query.
        documents: the documents.
        top_n: number of documents to return; None for all.
        default_model: model of rankings that name none; None for the service's.

    Raises:
        InvalidRequestError: an argument that cannot be used.

    Example:
        >>> build_ranking("q", ["a"], 1, None, priority=7).body["priority"]
        7
    """
    check_activation(activation)
    check_positive(top_n=top_n)
    threshold = checked_threshold(threshold)
    checked_fusion(fusion, fusion_weight)
    check_priority(priority)
    check_spans(spans, activation)
    candidates = to_documents(documents)
    options: dict[str, Any] = {
        "model": model or default_model,
        "threshold": threshold if activation != "softmax" else None,
        "fusion": fusion,
        "fusion_weight": None if fusion_weight is None else float(fusion_weight),
        "instruction": check_instruction(instruction),
        "max_length": plain_integer(max_length),
        "truncation": truncation,
        "long_documents": long_documents,
        "cache": cache,
        "priority": priority,
        "relevant_spans": _spans_payload(spans),
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
    units = {name: value for name, value in (("X-Rerankd-User", user), ("X-Rerankd-Session", session)) if value}
    return Ranking(body, candidates, top_n, activation, threshold, timeout, check_unit_headers(units))


def _spans_payload(spans: SpanOptions | None) -> dict[str, Any] | None:
    if spans is None:
        return None
    options: dict[str, Any] = {"mode": "enabled", "threshold": float(spans.threshold)}
    return options if spans.max_spans is None else options | {"max_spans": plain_integer(spans.max_spans)}


def split_rankings(rankings: Sequence[Ranking]) -> Iterator[list[int]]:
    """Yield the positions of the rankings of each call; those without documents are in none.

    Args:
        rankings: the rankings, in order.
    """
    call: list[int] = []
    documents = 0
    for position, ranking in enumerate(rankings):
        size = len(ranking.documents)
        if call and (len(call) == MAX_QUERIES or documents + size > MAX_DOCUMENTS):
            yield call
            call, documents = [], 0
        if size:
            call.append(position)
            documents += size
    if call:
        yield call


def read_rankings(response: Mapping[str, Any], rankings: Sequence[Ranking]) -> list[RerankResult | RerankdError]:
    """Read the response to many rankings.

    Args:
        response: object of the response's body.
        rankings: the rankings of the call, in order.

    Returns:
        The result of each, or the error that the service has for it.

    Raises:
        ScoringError: a response that does not fit the request.
    """
    rows = dict(read_rows(response, "results", len(rankings), len(rankings)))
    return [_outcome(rows[position], ranking) for position, ranking in enumerate(rankings)]


def _outcome(row: Mapping[str, Any], ranking: Ranking) -> RerankResult | RerankdError:
    error = row.get("error")
    if isinstance(error, dict):
        return read_error(error, int(number(row, "status", 500)))
    if error is not None:
        raise ScoringError("The service's answer has an error that cannot be read.", hint=MISMATCH_HINT)
    return ranking.read(row)
