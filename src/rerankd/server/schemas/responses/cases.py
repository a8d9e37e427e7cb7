"""Answers of `/v1/feedback`, `/v1/cases` and `/v1/activity`."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, with_config
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from rerankd.feedback.cases import State
from rerankd.feedback.rates import Verdict

CASE_EXAMPLE: JsonDict = {
    "id": 7,
    "time": 1796083200.25,
    "changed": 1796083200.25,
    "tenant": "support",
    "request_id": "8f2a61c0b7d94e5f",
    "detector": "manual",
    "position": 2,
    "state": "open",
    "model": "mini",
    "version": "mini-3f9a",
    "note": "The second document answers the question.",
    "severity": 1.0,
    "query": "How long does the service drain?",
    "reasons": [
        {
            "detector": "manual",
            "position": 2,
            "severity": 1.0,
            "note": "The second document answers the question.",
            "time": 1796083200.25,
        }
    ],
}
CANDIDATE_EXAMPLE: JsonDict = {
    "index": 0,
    "id": "serve.md#3",
    "text": "The service drains for 30 seconds.",
    "rank_before": 1,
    "rank_after": 1,
    "raw_score": 2.77,
    "grade": None,
}

RATES_EXAMPLE: JsonDict = {
    "requests": 40,
    "negative": 2,
    "reciprocal_before": 0.31,
    "reciprocal_after": 0.82,
    "top5_before": 0.62,
    "top5_after": 0.95,
    "gain": 0.51,
    "gain_low": 0.42,
    "gain_high": 0.6,
    "verdict": "helps",
}
ACTIVITY_EXAMPLE: JsonDict = {
    "model": "mini",
    "tenant": "*",
    "requests": 1200,
    "versions": 1,
    "top_changed": 0.41,
    "tau": 0.52,
    "rbo": 0.61,
    "promotion": 1.7,
    "top_score": 0.93,
    "top_score_p10": 0.4,
    "top_score_p90": 0.99,
    "margin": 0.22,
    "psi": 0.03,
    "reference_requests": 9100,
    "latency_p50_ms": 18.2,
    "latency_p95_ms": 41.7,
    "truncated": 0.01,
    "feedback": RATES_EXAMPLE,
    "job_rankings": 0,
    "job_latency_p95_ms": None,
}


@with_config(ConfigDict(json_schema_extra={"examples": [{"object": "feedback", "accepted": 2, "pending": 0}]}))
class FeedbackResponse(TypedDict):
    """Receipt of feedback.

    Attributes:
        object: always `feedback`.
        accepted: number of events that were stored.
        pending: events among them whose ranking is not stored yet.
    """

    object: Literal["feedback"]
    accepted: int
    pending: int


@with_config(ConfigDict(json_schema_extra={"examples": [{"object": "case", "new": True}]}))
class FlagResponse(TypedDict):
    """Receipt of a flag.

    Attributes:
        object: always `case`.
        new: true if the ranking was not flagged before.
    """

    object: Literal["case"]
    new: bool


class CaseReason(TypedDict):
    """Something that is wrong with a ranking.

    Attributes:
        detector: detector that found it, or `manual`.
        position: document that it is about, from 0; -1 for the whole ranking.
        severity: severity; comparable within a detector.
        note: description for people.
        time: time of its detection, in seconds since 1970.
    """

    detector: str
    position: int
    severity: float
    note: str
    time: float


class CaseCandidate(TypedDict):
    """A candidate of a case.

    Attributes:
        index: position in the request, from 0.
        id: id that the request gave it; null for none.
        text: its text; null if it was erased.
        rank_before: rank of the first stage, from 1.
        rank_after: rank after reranking, from 1.
        raw_score: logit.
        grade: relevance grade that its labels amount to; null without a label.
    """

    index: int
    id: str | None
    text: str | None
    rank_before: int
    rank_after: int
    raw_score: float
    grade: int | None


class CaseSummary(TypedDict):
    """A bad case: a ranking that should have been different.

    Attributes:
        id: number of the case.
        time: time of its detection, in seconds since 1970.
        changed: time of its last change, in seconds since 1970.
        tenant: id of the API key that sent the request; empty without keys.
        request_id: id of the request.
        detector: detector of the first reason, or `manual`.
        position: document that the first reason is about, from 0; -1 for the whole ranking.
        state: state.
        model: name of the model that ranked.
        version: exact version of that model.
        note: notes of the detectors, followed by those of people.
        severity: highest severity of its reasons.
        query: the query; null if it was erased.
        reasons: what was found in it, the oldest first.
    """

    id: int
    time: float
    changed: float
    tenant: str
    request_id: str
    detector: str
    position: int
    state: State
    model: str
    version: str
    note: str
    severity: float
    query: str | None
    reasons: list[CaseReason]


@with_config(
    ConfigDict(json_schema_extra={"examples": [{"object": "case", **CASE_EXAMPLE, "candidates": [CANDIDATE_EXAMPLE]}]})
)
class CaseResponse(CaseSummary):
    """A bad case with its candidates.

    Attributes:
        object: always `case`.
        candidates: the candidates, in the order of the request.
    """

    object: Literal["case"]
    candidates: list[CaseCandidate]


@with_config(ConfigDict(json_schema_extra={"examples": [{"object": "list", "data": [CASE_EXAMPLE]}]}))
class CaseList(TypedDict):
    """Bad cases, the worst first.

    Attributes:
        object: always `list`.
        data: the cases.
    """

    object: Literal["list"]
    data: list[CaseSummary]


class FeedbackRates(TypedDict):
    """Feedback on the rankings of a window; null where nothing was measured.

    Attributes:
        requests: rankings with a chosen document.
        negative: rejected documents and rejected rankings.
        reciprocal_before: reciprocal rank of the best chosen document before reranking, mean.
        reciprocal_after: the same after reranking.
        top5_before: share of requests whose best chosen document was among the first five before reranking.
        top5_after: the same after reranking.
        gain: reciprocal_after - reciprocal_before.
        gain_low: lower end of its 95 % interval.
        gain_high: upper end of its 95 % interval.
        verdict: `hurts` if the whole interval is below 0, `helps` if it is above, `too few` for too few requests.
    """

    requests: int
    negative: int
    reciprocal_before: float | None
    reciprocal_after: float | None
    top5_before: float | None
    top5_after: float | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    verdict: Verdict


class ModelActivity(TypedDict):
    """Statistics of a model's rankings for one tenant; null where nothing was measured.

    Attributes:
        model: name of the model.
        tenant: id of the API key; `*` for all together.
        requests: number of rankings.
        versions: number of versions of the model.
        top_changed: share of rankings whose first document was not first before.
        tau: Kendall's tau of the order before with the order after, mean.
        rbo: rank-biased overlap of the two orders, mean.
        promotion: ranks that the returned documents rose, mean.
        top_score: score of the first document, median.
        top_score_p10: the same, 10th percentile.
        top_score_p90: the same, 90th percentile.
        margin: score of the first document above that of the second, mean.
        psi: population stability index of the top scores against the reference window.
        reference_requests: number of rankings in the reference window.
        latency_p50_ms: milliseconds of requests that somebody waited for, median.
        latency_p95_ms: the same, 95th percentile.
        truncated: share of documents that were cut.
        feedback: feedback on the rankings.
        job_rankings: rankings of jobs among the requests.
        job_latency_p95_ms: milliseconds of rankings of jobs, 95th percentile.
    """

    model: str
    tenant: str
    requests: int
    versions: int
    top_changed: float
    tau: float | None
    rbo: float | None
    promotion: float | None
    top_score: float
    top_score_p10: float
    top_score_p90: float
    margin: float | None
    psi: float | None
    reference_requests: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    truncated: float
    feedback: FeedbackRates
    job_rankings: int
    job_latency_p95_ms: float | None


@with_config(ConfigDict(json_schema_extra={"examples": [{"object": "list", "data": [ACTIVITY_EXAMPLE]}]}))
class ActivityList(TypedDict):
    """Reranking activity by model and tenant, all tenants first.

    Attributes:
        object: always `list`.
        data: the statistics.
    """

    object: Literal["list"]
    data: list[ModelActivity]
