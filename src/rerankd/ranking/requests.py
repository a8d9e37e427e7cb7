"""The one place that builds a `RerankRequest`: for the library, the service, jobs and search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import ParamSpec, TypedDict

from rerankd._common.instruction import check_instruction
from rerankd._common.validation import DocumentLike, check_positive, plain_integer, to_documents, to_query
from rerankd.errors import InvalidRequestError
from rerankd.ranking.activation import check_activation
from rerankd.ranking.order import checked_fusion, checked_threshold
from rerankd.ranking.priority import check_priority
from rerankd.ranking.spans import check_spans
from rerankd.types import Activation, RerankRequest, SpanOptions, TruncationOverrides

Fields = ParamSpec("Fields")


class RequestOptions(TypedDict, total=False):
    """The keyword arguments of `Reranker.rank`."""

    activation: Activation | None
    threshold: float | None
    fusion: str | None
    fusion_weight: float | None
    instruction: str | None
    spans: SpanOptions | None
    max_length: int | None
    batch_size: int | None
    show_progress: bool


def _checked(make: Callable[Fields, RerankRequest]) -> Callable[Fields, RerankRequest]:
    """Return a function with the arguments of a constructor that also checks what it builds."""

    def build(*args: Fields.args, **fields: Fields.kwargs) -> RerankRequest:
        request = make(*args, **fields)
        check_activation(request.activation)
        check_positive(top_n=request.top_n)
        checked_threshold(request.threshold)
        check_priority(request.priority)
        check_spans(request.spans, request.activation)
        instruction = check_instruction(request.truncation.instruction)
        if instruction == request.truncation.instruction:
            return request
        return replace(request, truncation=replace(request.truncation, instruction=instruction))

    return build


# Takes the fields of a `RerankRequest`. Raises InvalidRequestError for a value that cannot be used. The query is the
# caller's to check: a template of rankings or of pairs has none, and text-embeddings-inference allows an empty one.
build_request = _checked(RerankRequest)


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
    template = build_request(
        "",
        [],
        plain_integer(top_n),
        options.get("activation") or "sigmoid",
        truncation=TruncationOverrides(instruction=options.get("instruction")),
        threshold=checked_threshold(options.get("threshold")),
        fusion=checked_fusion(options.get("fusion"), options.get("fusion_weight")),
        spans=options.get("spans"),
    )
    return [
        replace(template, query=to_query(query), documents=to_documents(candidates))
        for query, candidates in zip(queries, documents, strict=True)
    ]
