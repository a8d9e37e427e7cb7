"""Requests of the library, built from the arguments of `Reranker.rank`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

from rerankd._common.validation import DocumentLike, check_positive, to_documents, to_query
from rerankd.errors import InvalidRequestError
from rerankd.ranking.activation import check_activation
from rerankd.ranking.order import checked_fusion, checked_threshold
from rerankd.types import Activation, RerankRequest


class RequestOptions(TypedDict, total=False):
    """The keyword arguments of `Reranker.rank`."""

    activation: Activation
    threshold: float | None
    fusion: str | None
    fusion_weight: float | None
    max_length: int | None
    batch_size: int | None
    show_progress: bool


def build_requests(
    queries: Sequence[str],
    documents: Sequence[Iterable[DocumentLike]],
    top_n: int | None,
    options: RequestOptions,
) -> list[RerankRequest]:
    """Build one request for each query.

    Args:
        queries: the queries.
        documents: one list of documents for each query.
        top_n: number of documents to return for each query; None returns all.
        options: the keyword arguments of `Reranker.rank`.

    Raises:
        InvalidRequestError: an argument that cannot be used.

    Example:
        >>> [request] = build_requests(["q"], [["a", "b"]], 1, {})
        >>> request.documents[1].text
        'b'
    """
    if isinstance(queries, str) or len(queries) != len(documents):
        raise InvalidRequestError(
            "queries and documents do not match.", hint="Pass a list of queries and one list of documents for each."
        )
    activation = options.get("activation", "sigmoid")
    check_activation(activation)
    check_positive(top_n=top_n)
    lowest_score = checked_threshold(options.get("threshold"))
    fused = checked_fusion(options.get("fusion"), options.get("fusion_weight"))
    return [
        RerankRequest(
            to_query(query), to_documents(candidates), top_n, activation, threshold=lowest_score, fusion=fused
        )
        for query, candidates in zip(queries, documents, strict=True)
    ]
