"""Answers of `/v1/search` and `/v1/ask`."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from pydantic import ConfigDict, with_config
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from rerankd.server.schemas.responses.dialects import WarningsMeta
from rerankd.server.schemas.responses.rerank import MatchedRule

PASSAGE_EXAMPLE: JsonDict = {
    "number": 1,
    "id": "serve.md#3",
    "text": "The service drains for 30 seconds before it exits.",
    "relevance_score": 0.9412,
    "source": "serve.md, Shutdown",
    "metadata": {"source": "serve.md", "heading": "Shutdown"},
}
SEARCH_EXAMPLE: JsonDict = {
    "object": "search",
    "request_id": "8f2a61c0b7d94e5f",
    "query": "How long does the service drain?",
    "passages": [PASSAGE_EXAMPLE],
    "model": "mini",
    "version": "mini-3f9a",
    "experiment": "",
    "timings": {"retrieve": 3.1, "rerank": 12.8, "select": 0.2},
}
ANSWER_EXAMPLE: JsonDict = {
    **SEARCH_EXAMPLE,
    "object": "answer",
    "answer": "It drains for 30 seconds [1].",
    "citations": [1],
    "invalid_citations": [],
    "attributed": [],
    "unsupported": [],
    "sentences": [
        {
            "text": "It drains for 30 seconds [1].",
            "citations": [1],
            "attributed": [],
            "score": None,
            "unsupported": False,
        }
    ],
    "grounded": True,
    "refusal": None,
    "error": None,
}


class SearchPassage(TypedDict):
    """A passage of a search.

    Attributes:
        number: number that an answer cites it by, from 1; null for one that was dropped.
        id: id of the passage in the index.
        text: its text.
        relevance_score: score, 0 to 1.
        source: where it is from, for people: file, page and heading.
        metadata: metadata of the passage in the index.
        raw_score: logit; only with `explain`.
        score_before: score of the first stage; only with `explain`.
        rank_before: rank in the first stage, from 1; only with `explain`.
        rank_after: rank after reranking, from 1; only with `explain`.
        rules: rules that acted on the passage; only with `explain`.
        dropped: reason why it was dropped, or null; only with `explain`.
        duplicate_of: id of the passage that it repeats, or null; only with `explain`.
    """

    number: int | None
    id: str | None
    text: str
    relevance_score: float
    source: str
    metadata: dict[str, Any]
    raw_score: NotRequired[float]
    score_before: NotRequired[float | None]
    rank_before: NotRequired[int]
    rank_after: NotRequired[int]
    rules: NotRequired[list[MatchedRule]]
    dropped: NotRequired[Literal["threshold", "duplicate", "budget", "top_n"] | None]
    duplicate_of: NotRequired[str | None]


class SearchTimings(TypedDict):
    """Milliseconds by step.

    Attributes:
        retrieve: the first stage.
        rerank: scoring its documents.
        select: choosing among them.
        answer: the language model; only of an answer.
        support: matching sentences of the answer to passages; only of an answer.
    """

    retrieve: float
    rerank: float
    select: float
    answer: NotRequired[float]
    support: NotRequired[float]


class SearchFields(TypedDict):
    """The passages for a question.

    Attributes:
        request_id: id of the request, which feedback refers to.
        query: the question.
        passages: the passages that were kept, numbered.
        model: name of the reranking model; empty if the first stage returned nothing.
        version: exact version of the model.
        experiment: experiment and variant as `name/variant`; empty for none.
        timings: milliseconds by step.
        meta: warnings; absent if there are none.
        asked: the question with its synonyms, as the first stage got it; only with `explain`.
        rules: version of the rules in force, empty for none; only with `explain`.
        dropped: the passages that were not kept, best first; only with `explain`.
    """

    request_id: str
    query: str
    passages: list[SearchPassage]
    model: str
    version: str
    experiment: str
    timings: SearchTimings
    meta: NotRequired[WarningsMeta]
    asked: NotRequired[str]
    rules: NotRequired[str]
    dropped: NotRequired[list[SearchPassage]]


@with_config(ConfigDict(json_schema_extra={"examples": [SEARCH_EXAMPLE]}))
class SearchResponse(SearchFields):
    """The passages for a question.

    Attributes:
        object: always `search`.
    """

    object: Literal["search"]


class AnswerSentence(TypedDict):
    """A sentence of an answer; joined, the sentences give the answer again.

    Attributes:
        text: its text, with its citations and the spaces around it.
        citations: numbers of the passages that the language model cites behind it.
        attributed: number of the passage that the reranker matched to it; empty if it has citations, or no match.
        score: score of the passage that is attributed, or of the best one, 0 to 1; null if it was not matched.
        unsupported: true if it states something that no passage supports.
    """

    text: str
    citations: list[int]
    attributed: list[int]
    score: float | None
    unsupported: bool


class AnswerError(TypedDict):
    """A failure of the language model; the passages are valid all the same.

    Attributes:
        code: stable code of the error.
        message: what went wrong and how to fix it.
    """

    code: str
    message: str


@with_config(ConfigDict(json_schema_extra={"examples": [ANSWER_EXAMPLE]}))
class AskResponse(SearchFields):
    """The answer to a question, with the passages that it rests on.

    Attributes:
        object: always `answer`.
        answer: text of the language model; null without a language model or without passages.
        citations: numbers of the passages that it cites.
        invalid_citations: cited numbers without a passage; they are removed from the text.
        attributed: numbers of the passages that were matched to sentences without a citation.
        unsupported: sentences that no passage supports.
        sentences: sentences of the text, with the passages of each.
        grounded: true if passages support every sentence.
        refusal: message to the user if no passage answers the question; null otherwise.
        error: failure of the language model; null for none.
    """

    object: Literal["answer"]
    answer: str | None
    citations: list[int]
    invalid_citations: list[int]
    attributed: list[int]
    unsupported: list[str]
    sentences: list[AnswerSentence]
    grounded: bool
    refusal: str | None
    error: AnswerError | None
