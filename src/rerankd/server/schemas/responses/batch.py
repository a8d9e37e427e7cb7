"""The answer of `/v1/rerank/batch`: a ranking or an error for each of the rankings that were asked for."""

from __future__ import annotations

from typing import NotRequired

from pydantic import ConfigDict, with_config
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from rerankd.server.schemas.responses.dialects import PromptUsage
from rerankd.server.schemas.responses.errors import ErrorDetail
from rerankd.server.schemas.responses.rerank import RerankedDocument, RerankMeta, RerankUsage, Timings

BATCH_EXAMPLE: JsonDict = {
    "id": "nightly",
    "results": [
        {
            "index": 0,
            "status": 200,
            "id": "nightly.0",
            "model": "mini",
            "results": [{"index": 1, "relevance_score": 0.9731}, {"index": 0, "relevance_score": 0.0214}],
            "usage": {"prompt_tokens": 34, "total_tokens": 34},
            "meta": {
                "api_version": {"version": "1"},
                "billed_units": {"search_units": 1},
                "tokens": {"input_tokens": 34, "output_tokens": 0},
            },
        },
        {
            "index": 1,
            "status": 400,
            "id": "nightly.1",
            "error": {
                "message": "query: Field required. See /docs.",
                "type": "invalid_request",
                "param": None,
                "code": "invalid_request",
            },
        },
    ],
    "usage": {"prompt_tokens": 34, "total_tokens": 34},
    "meta": {"succeeded": 1, "failed": 1},
}


class BatchRanking(TypedDict):
    """One of many rankings: the fields of a ranking's answer, or an error.

    Attributes:
        index: position of the ranking in the request, from 0.
        status: status that the ranking would have alone.
        id: id of the ranking, which feedback refers to.
        error: what went wrong; only where the status is not 200.
        model: name of the model that scored; as all that follow, only where the status is 200.
        results: the documents, best first; each at most once.
        usage: tokens.
        meta: facts that Cohere's clients read, and warnings.
        timings: milliseconds by step; only with `explain`.
        rules: version of the rules in force, empty for none; only with `explain`.
        version: exact version of the model; only with `explain`.
        experiment: experiment and variant as `name/variant`, empty for none; only with `explain`.
    """

    index: int
    status: int
    id: str
    error: NotRequired[ErrorDetail]
    model: NotRequired[str]
    results: NotRequired[list[RerankedDocument]]
    usage: NotRequired[RerankUsage]
    meta: NotRequired[RerankMeta]
    timings: NotRequired[Timings]
    rules: NotRequired[str]
    version: NotRequired[str]
    experiment: NotRequired[str]


class BatchMeta(TypedDict):
    """Counts of a call with many rankings.

    Attributes:
        succeeded: rankings with results.
        failed: rankings with an error.
    """

    succeeded: int
    failed: int


@with_config(ConfigDict(json_schema_extra={"examples": [BATCH_EXAMPLE]}))
class BatchResponse(TypedDict):
    """Rankings, in the order of the request.

    Attributes:
        id: id of the call.
        results: a ranking or an error for each that was asked for.
        usage: tokens of all of them.
        meta: how many succeeded and failed.
    """

    id: str
    results: list[BatchRanking]
    usage: PromptUsage
    meta: BatchMeta
