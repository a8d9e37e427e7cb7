"""Answers that have shapes of their own: those of text-embeddings-inference, Infinity, Voyage, and vLLM's `/score`."""

from __future__ import annotations

from typing import Literal, NotRequired

from pydantic import ConfigDict, with_config
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from rerankd.server.schemas.responses.rerank import RelevantSpan

INFINITY_EXAMPLE: JsonDict = {
    "object": "rerank",
    "id": "infinity-8f2a61c0b7d94e5f",
    "model": "mini",
    "created": 1796083200,
    "results": [{"index": 1, "relevance_score": 0.9731, "document": "Paris is the capital of France."}],
    "usage": {"prompt_tokens": 34, "total_tokens": 34},
}
VOYAGE_EXAMPLE: JsonDict = {
    "object": "list",
    "data": [{"index": 1, "relevance_score": 0.9731, "document": "Paris is the capital of France."}],
    "model": "mini",
    "usage": {"total_tokens": 34},
}
SCORE_EXAMPLE: JsonDict = {
    "id": "score-8f2a61c0b7d94e5f",
    "object": "list",
    "created": 1796083200,
    "model": "mini",
    "data": [{"index": 0, "object": "score", "score": 0.9731}],
    "usage": {"prompt_tokens": 17, "total_tokens": 17, "completion_tokens": 0},
}


@with_config(ConfigDict(json_schema_extra={"examples": [{"index": 1, "score": 0.9731}]}))
class TeiRankedText(TypedDict):
    """A text of a ranking by text-embeddings-inference.

    Attributes:
        index: position of the text in the request, from 0.
        score: score, 0 to 1; a logit with `raw_scores`.
        text: the text; only with `return_text`.
    """

    index: int
    score: float
    text: NotRequired[str]


@with_config(ConfigDict(json_schema_extra={"examples": [{"score": 0.9731, "label": "LABEL_0"}]}))
class TeiPrediction(TypedDict):
    """A prediction by text-embeddings-inference.

    Attributes:
        score: score, 0 to 1; a logit with `raw_scores`.
        label: always `LABEL_0`, the only label of a reranker.
    """

    score: float
    label: Literal["LABEL_0"]


class RerankedText(TypedDict):
    """A document of a ranking, as Infinity and Voyage write it.

    Attributes:
        index: position of the document in the request, from 0.
        relevance_score: score, 0 to 1; a logit where the request asks for raw scores.
        document: the text; only with `return_documents`.
        relevant_spans: sentences that answer the query, in the order of the text; only where the request asks for them.
    """

    index: int
    relevance_score: float
    document: NotRequired[str]
    relevant_spans: NotRequired[list[RelevantSpan]]


class PromptUsage(TypedDict):
    """Tokens of a ranking.

    Attributes:
        prompt_tokens: tokens of all pairs of query and document.
        total_tokens: the same number.
    """

    prompt_tokens: int
    total_tokens: int


@with_config(ConfigDict(json_schema_extra={"examples": [INFINITY_EXAMPLE]}))
class InfinityRerankResponse(TypedDict):
    """A ranking as Infinity writes it, best first.

    Attributes:
        object: always `rerank`.
        id: id of the request behind `infinity-`.
        model: name of the model that scored.
        created: time of the answer, in seconds since 1970.
        results: the documents, best first.
        usage: tokens.
    """

    object: Literal["rerank"]
    id: str
    model: str
    created: int
    results: list[RerankedText]
    usage: PromptUsage


class TotalUsage(TypedDict):
    """Tokens of a ranking, as Voyage counts them.

    Attributes:
        total_tokens: tokens of all pairs of query and document.
    """

    total_tokens: int


@with_config(ConfigDict(json_schema_extra={"examples": [VOYAGE_EXAMPLE]}))
class VoyageRerankResponse(TypedDict):
    """A ranking as Voyage writes it, best first.

    Attributes:
        object: always `list`.
        data: the documents, best first.
        model: name of the model that scored.
        usage: tokens.
    """

    object: Literal["list"]
    data: list[RerankedText]
    model: str
    usage: TotalUsage


class ScoredPair(TypedDict):
    """Score of a pair.

    Attributes:
        index: position of the pair in the request, from 0.
        object: always `score`.
        score: score, 0 to 1; a logit where the request asks for raw scores.
    """

    index: int
    object: Literal["score"]
    score: float


class ScoreUsage(TypedDict):
    """Tokens of a scoring.

    Attributes:
        prompt_tokens: tokens of all pairs.
        total_tokens: the same number.
        completion_tokens: always 0.
    """

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int


class WarningsMeta(TypedDict):
    """Warnings about an answer.

    Attributes:
        warnings: what was asked for and not done.
    """

    warnings: list[str]


@with_config(ConfigDict(json_schema_extra={"examples": [SCORE_EXAMPLE]}))
class ScoreResponse(TypedDict):
    """Scores of pairs, in the order of the request.

    Attributes:
        id: id of the request behind `score-`.
        object: always `list`.
        created: time of the answer, in seconds since 1970.
        model: name of the model that scored.
        data: one score for each pair.
        usage: tokens.
        meta: warnings; absent if there are none.
    """

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[ScoredPair]
    usage: ScoreUsage
    meta: NotRequired[WarningsMeta]
