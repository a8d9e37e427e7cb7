"""Answers of `/v1/jobs`."""

from __future__ import annotations

from typing import Literal, NotRequired

from pydantic import ConfigDict, with_config
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from rerankd.jobs.job import Priority, State
from rerankd.server.schemas.responses.dialects import WarningsMeta
from rerankd.server.schemas.responses.rerank import MatchedRule, RelevantSpan, ReturnedDocument

JOB_EXAMPLE: JsonDict = {
    "id": "job_4f1c2d",
    "object": "job",
    "state": "succeeded",
    "priority": "interactive",
    "progress": 1.0,
    "total": 1,
    "done": 1,
    "failed": 0,
    "created": 1796083200.25,
    "started": 1796083200.31,
    "finished": 1796083200.42,
    "deadline": None,
    "error": None,
}
ROW_EXAMPLE: JsonDict = {
    "index": 0,
    "request_id": "job_4f1c2d.0.0",
    "model": "mini",
    "version": "mini-3f9a",
    "results": [{"index": 1, "relevance_score": 0.9731, "raw_score": 3.59, "truncated": False, "chunks": 1}],
    "usage": {"pairs": 2, "tokens": 34, "truncated": 0},
}


class JobRankedDocument(TypedDict):
    """A document of a ranking in a job.

    Attributes:
        index: position of the document in its request, from 0.
        relevance_score: score, 0 to 1; a logit where the request asks for raw scores.
        raw_score: logit.
        truncated: true if the model did not read all of the document.
        chunks: number of chunks in which the document was read.
        rules: rules that acted on the document; absent if there are none.
        document: the document; only with `return_documents`.
        relevant_spans: sentences that answer the query, in the order of the text; only where the request asks for them.
    """

    index: int
    relevance_score: float
    raw_score: float
    truncated: bool
    chunks: int
    rules: NotRequired[list[MatchedRule]]
    document: NotRequired[ReturnedDocument]
    relevant_spans: NotRequired[list[RelevantSpan]]


class JobUsage(TypedDict):
    """The cost of one request of a job.

    Attributes:
        pairs: number of pairs that were scored.
        tokens: tokens of these pairs.
        truncated: number of pairs that were cut.
        sentences: number of pairs of query and sentence; only with `relevant_spans`.
    """

    pairs: int
    tokens: int
    truncated: int
    sentences: NotRequired[int]


@with_config(ConfigDict(json_schema_extra={"examples": [ROW_EXAMPLE]}))
class JobRanking(TypedDict):
    """The ranking of one request of a job.

    Attributes:
        index: position of the request in the job, from 0.
        request_id: id of the ranking, which feedback refers to.
        model: name of the model that scored.
        version: exact version of the model.
        results: the documents, best first.
        usage: the cost.
        meta: warnings; absent if there are none.
    """

    index: int
    request_id: str
    model: str
    version: str
    results: list[JobRankedDocument]
    usage: JobUsage
    meta: NotRequired[WarningsMeta]


class JobScores(TypedDict):
    """The scores of one request that `rerankd bulk` queued.

    Attributes:
        index: position of the request in the job, from 0.
        model: name of the model that scored.
        version: exact version of the model.
        policy: truncation that the scores were computed with.
        scores: logits of the pairs, by query.
        usage: the cost.
        meta: warnings; absent if there are none.
    """

    index: int
    model: str
    version: str
    policy: str
    scores: list[list[float]]
    usage: JobUsage
    meta: NotRequired[WarningsMeta]


class JobRowError(TypedDict):
    """The reason why a request of a job has no result.

    Attributes:
        code: stable code of the error.
        message: what went wrong and how to fix it.
    """

    code: str
    message: str


class JobFailure(TypedDict):
    """The error of one request of a job.

    Attributes:
        index: position of the request in the job, from 0.
        error: reason.
    """

    index: int
    error: JobRowError


class JobMissing(TypedDict):
    """One request of a job that has no result yet.

    Attributes:
        index: position of the request in the job, from 0.
        result: always null.
    """

    index: int
    result: None


JobRow = JobRanking | JobScores | JobFailure | JobMissing


class JobFields(TypedDict):
    """The state of a job. Times are seconds since 1970, null for an event that has not happened.

    Attributes:
        id: id of the job.
        object: always `job`.
        state: state.
        priority: `interactive` jobs are served before `bulk` ones.
        progress: share of the requests that are done or failed, 0 to 1.
        total: number of requests.
        done: requests with a result.
        failed: requests with an error.
        created: time of the submission.
        started: time at which it began.
        finished: time at which it ended.
        deadline: time at which it expires; null for never.
        error: reason of its state; null for none.
        webhook: state of its webhook; absent without one.
        webhook_error: reason of the last delivery that failed; absent if none has.
    """

    id: str
    object: Literal["job"]
    state: State
    priority: Priority
    progress: float
    total: int
    done: int
    failed: int
    created: float
    started: float | None
    finished: float | None
    deadline: float | None
    error: str | None
    webhook: NotRequired[Literal["pending", "delivered", "failed"]]
    webhook_error: NotRequired[str]


@with_config(ConfigDict(json_schema_extra={"examples": [JOB_EXAMPLE]}))
class JobResponse(JobFields):
    """The state of a job. Times are seconds since 1970, null for an event that has not happened."""


@with_config(ConfigDict(json_schema_extra={"examples": [{**JOB_EXAMPLE, "results": [ROW_EXAMPLE]}]}))
class JobWithResults(JobFields):
    """The state of a job, and its results once it has ended.

    Attributes:
        results: one entry for each request, in order; absent while the job runs, unless asked for.
    """

    results: NotRequired[list[JobRow]]


@with_config(ConfigDict(json_schema_extra={"examples": [{"object": "list", "data": [JOB_EXAMPLE]}]}))
class JobList(TypedDict):
    """Jobs, the newest first.

    Attributes:
        object: always `list`.
        data: the jobs.
    """

    object: Literal["list"]
    data: list[JobResponse]
