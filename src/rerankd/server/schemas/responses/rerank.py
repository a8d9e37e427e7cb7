"""The answer of `/v1/rerank`: one body that clients of Cohere, Jina, vLLM, Xinference and llama.cpp all read."""

from __future__ import annotations

from typing import NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict


class MatchedRule(TypedDict):
    """A rule that acted on a document.

    Attributes:
        rule: name of the rule.
        action: `boost`, `bury`, `pin` or `filter`.
        weight: logits by which it moved the document; the position for `pin`, 0 for `filter`.
    """

    rule: str
    action: str
    weight: float


@with_config(ConfigDict(extra="allow"))
class ReturnedDocument(TypedDict):
    """A document as it was sent: an object with all its fields; a plain text as an object with `text`.

    Attributes:
        text: the text; absent only where `rank_fields` names other fields of the object.
    """

    text: NotRequired[str]


class Timings(TypedDict):
    """Milliseconds by step.

    Attributes:
        tokenization: splitting texts into tokens.
        queue: waiting for the model.
        inference: computing.
        total: all of the ranking.
    """

    tokenization: float
    queue: float
    inference: float
    total: float


class RelevantSpan(TypedDict):
    """A sentence of a document that answers the query.

    Attributes:
        start: position of its first character in the document's text, in Unicode code points.
        end: position behind its last character.
        score: score of the sentence as a document of its own, 0 to 1; a logit where the request asks for raw scores.
    """

    start: int
    end: int
    score: float


class RerankedDocument(TypedDict):
    """A document of a ranking.

    Attributes:
        index: position of the document in the request, from 0.
        relevance_score: score, 0 to 1; a logit where the request asks for raw scores.
        document: the document; only with `return_documents`.
        relevant_spans: sentences that answer the query, in the order of the text; only where the request asks for them.
        raw_score: logit; only with `explain`.
        truncated: true if the model did not read all of the document; only with `explain`.
        chunks: number of chunks in which the document was read; only with `explain`.
        rules: rules that acted on the document; only with `explain`.
    """

    index: int
    relevance_score: float
    document: NotRequired[ReturnedDocument]
    relevant_spans: NotRequired[list[RelevantSpan]]
    raw_score: NotRequired[float]
    truncated: NotRequired[bool]
    chunks: NotRequired[int]
    rules: NotRequired[list[MatchedRule]]


class RerankUsage(TypedDict):
    """Tokens of a ranking.

    Attributes:
        prompt_tokens: tokens of all scored pairs, special tokens included.
        total_tokens: the same number.
        pairs: number of pairs; only with `explain`.
        truncated: number of pairs that were cut; only with `explain`.
        sentences: number of pairs of query and sentence; only with `explain` and `relevant_spans`.
    """

    prompt_tokens: int
    total_tokens: int
    pairs: NotRequired[int]
    truncated: NotRequired[int]
    sentences: NotRequired[int]


class ApiVersion(TypedDict):
    """Version of Cohere's API.

    Attributes:
        version: `1` or `2`.
    """

    version: str


class BilledUnits(TypedDict):
    """Units that Cohere would bill.

    Attributes:
        search_units: one for each hundred documents, or a part of it.
    """

    search_units: int


class CohereTokens(TypedDict):
    """Tokens, as Cohere counts them.

    Attributes:
        input_tokens: tokens of all pairs.
        output_tokens: always 0.
    """

    input_tokens: int
    output_tokens: int


class RerankMeta(TypedDict):
    """Facts about a ranking that Cohere's clients read.

    Attributes:
        api_version: version of Cohere's API.
        billed_units: units that Cohere would bill.
        tokens: tokens.
        warnings: what was asked for and not done; absent if there is nothing to say.
    """

    api_version: ApiVersion
    billed_units: BilledUnits
    tokens: CohereTokens
    warnings: NotRequired[list[str]]


@with_config(
    ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "8f2a61c0b7d94e5f",
                    "model": "mini",
                    "results": [{"index": 1, "relevance_score": 0.9731}, {"index": 0, "relevance_score": 0.0214}],
                    "usage": {"prompt_tokens": 34, "total_tokens": 34},
                    "meta": {
                        "api_version": {"version": "1"},
                        "billed_units": {"search_units": 1},
                        "tokens": {"input_tokens": 34, "output_tokens": 0},
                    },
                }
            ]
        }
    )
)
class RerankResponse(TypedDict):
    """A ranking, best first.

    Attributes:
        id: id of the request, which feedback refers to.
        model: name of the model that scored.
        results: the documents, best first; each at most once.
        usage: tokens.
        meta: facts that Cohere's clients read, and warnings.
        timings: milliseconds by step; only with `explain`.
        rules: version of the rules in force, empty for none; only with `explain`.
        version: exact version of the model; only with `explain`.
        experiment: experiment and variant as `name/variant`, empty for none; only with `explain`.
    """

    id: str
    model: str
    results: list[RerankedDocument]
    usage: RerankUsage
    meta: RerankMeta
    timings: NotRequired[Timings]
    rules: NotRequired[str]
    version: NotRequired[str]
    experiment: NotRequired[str]
