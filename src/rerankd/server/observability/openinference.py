"""Attributes of spans as OpenInference names them: https://github.com/Arize-ai/openinference/tree/main/spec."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rerankd.ranking.order import SCORE
from rerankd.retrieval.answer import SearchResult
from rerankd.types import Document, RankedDocument, RerankRequest, RerankResult

MAX_TEXT = 2000
SPAN_KIND = "openinference.span.kind"
Kind = Literal["RERANKER", "RETRIEVER", "CHAIN", "LLM"]
Attributes = dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Detail:
    """Detail of the spans.

    Attributes:
        texts: True for queries and the texts of documents, each at most `MAX_TEXT` characters.
        documents: number of documents that are described, of those that came in and of those that went out.
    """

    texts: bool = False
    documents: int = 20


def reranker_attributes(request: RerankRequest, result: RerankResult, detail: Detail) -> Attributes:
    """Return the attributes of a ranking.

    Example:
        >>> from rerankd.types import Usage
        >>> result = RerankResult((), "mini", Usage(0, 0, 0), {})
        >>> reranker_attributes(RerankRequest("q", [], top_n=3), result, Detail())["reranker.top_k"]
        3
    """
    attributes: Attributes = {
        SPAN_KIND: "RERANKER",
        "reranker.model_name": result.model,
        "reranker.top_k": len(result.results) if request.top_n is None else request.top_n,
    }
    if detail.texts:
        attributes["reranker.query"] = request.query[:MAX_TEXT]
    given = [(document, _first_stage_score(document)) for document in request.documents[: detail.documents]]
    attributes |= _documents("reranker.input_documents", given, detail)
    return attributes | _documents("reranker.output_documents", _scored(result.results, detail), detail)


def chain_attributes(result: SearchResult, detail: Detail) -> Attributes:
    """Return the attributes of a search or a question as a whole."""
    attributes: Attributes = {SPAN_KIND: "CHAIN"}
    if detail.texts:
        attributes["input.value"] = result.query[:MAX_TEXT]
    return attributes


def retriever_attributes(result: SearchResult, detail: Detail) -> Attributes:
    """Return the attributes of the first stage: its candidates in the order in which it found them."""
    candidates = sorted(_candidates(result), key=lambda ranked: ranked.rank_before)[: detail.documents]
    found = [(ranked.document, _first_stage_score(ranked.document)) for ranked in candidates]
    return {SPAN_KIND: "RETRIEVER"} | _documents("retrieval.documents", found, detail)


def search_reranker_attributes(result: SearchResult, detail: Detail) -> Attributes:
    """Return the attributes of the ranking of a search."""
    attributes: Attributes = {SPAN_KIND: "RERANKER", "reranker.model_name": result.model}
    attributes["reranker.top_k"] = len(result.passages)
    if detail.texts:
        attributes["reranker.query"] = result.query[:MAX_TEXT]
    ranked = [passage.ranked for passage in result.passages]
    return attributes | _documents("reranker.output_documents", _scored(ranked, detail), detail)


def llm_attributes(model: str, text: str | None, detail: Detail) -> Attributes:
    """Return the attributes of the language model's answer."""
    attributes: Attributes = {SPAN_KIND: "LLM", "llm.model_name": model}
    return attributes | ({"output.value": text[:MAX_TEXT]} if detail.texts and text else {})


def _candidates(result: SearchResult) -> list[RankedDocument]:
    return [passage.ranked for passage in (*result.passages, *result.dropped)]


def _scored(results: Iterable[RankedDocument], detail: Detail) -> list[tuple[Document, float | None]]:
    return [(ranked.document, ranked.relevance_score) for ranked in list(results)[: detail.documents]]


def _first_stage_score(document: Document) -> float | None:
    score = document.metadata.get(SCORE)
    return float(score) if isinstance(score, int | float) and not isinstance(score, bool) else None


def _documents(prefix: str, documents: Iterable[tuple[Document, float | None]], detail: Detail) -> Attributes:
    attributes: Attributes = {}
    for number, (document, score) in enumerate(documents):
        name = f"{prefix}.{number}.document"
        if document.id is not None:
            attributes[f"{name}.id"] = str(document.id)[:MAX_TEXT]
        if score is not None:
            attributes[f"{name}.score"] = score
        if detail.texts:
            attributes[f"{name}.content"] = document.text[:MAX_TEXT]
    return attributes
