"""Scoring of one part: a result or an error for each of its requests."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rerankd._common.logging import logger
from rerankd.engine.request import QueryGroup
from rerankd.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    RerankdError,
)
from rerankd.jobs.job import Claim
from rerankd.jobs.work import RankWork, ScoreWork, Work, decode_work
from rerankd.pipeline.applied_rules import AppliedRules
from rerankd.pipeline.pipeline import Pipeline
from rerankd.pipeline.scores import ModelScores
from rerankd.ranking.order import usage_of
from rerankd.ranking.requests import build_request
from rerankd.types import RankedDocument, RerankRequest, RerankResult

SLICE_DOCUMENTS = 256
MAX_CONCURRENT_REQUESTS = 8

_log = logger(__name__)


_Outcome = tuple[dict[str, Any], int]


@dataclass(frozen=True, slots=True)
class PartScores:
    """Outcome of a part.

    Attributes:
        rows: one row for each request, in order: its result, or its error.
        computed_tokens: tokens that were computed; cached scores cost none.
    """

    rows: list[dict[str, Any]]
    computed_tokens: int


class PartRunner:
    """Scores the requests of a part on a pipeline.

    Args:
        pipeline: pipeline that scores and ranks.
        attempts: attempts of a failing part; in the last one a request that fails gets its error as its result.
        request_seconds: longest time for one request; a request that takes longer has failed.
    """

    def __init__(self, pipeline: Pipeline, *, attempts: int, request_seconds: float) -> None:
        self._pipeline, self._attempts, self._request_seconds = pipeline, attempts, request_seconds

    async def run(self, claim: Claim) -> PartScores:
        """Return one row for each request of the part, in order: its result, or its error.

        Raises:
            DeadlineExceededError: the job has expired.
            OverloadedError: the engine is overloaded.
            Exception: a request failed and attempts are left.
        """
        requests = decode_work(claim.payload)
        limit = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._run_request(claim, work, f"{claim.job}.{claim.part}.{index}", limit))
                    for index, work in enumerate(requests)
                ]
        except BaseExceptionGroup as errors:
            raise _decisive(errors) from errors
        outcomes = [task.result() for task in tasks]
        return PartScores([row for row, _ in outcomes], sum(computed for _, computed in outcomes))

    async def _run_request(self, claim: Claim, work: Work, request_id: str, limit: asyncio.Semaphore) -> _Outcome:
        """Return the row of a request, and the tokens that were computed for it."""
        async with limit:
            try:
                async with asyncio.timeout(self._request_seconds):
                    if isinstance(work, ScoreWork):
                        return await self._score_pairs(claim, work)
                    return await self._rank(claim, work, request_id)
            except (InvalidRequestError, ModelNotFoundError) as error:  # another attempt would end alike
                return _error_row(error), 0
            except (DeadlineExceededError, OverloadedError):
                raise
            except Exception as error:
                if claim.attempt < self._attempts:
                    raise
                _log.exception("a request of %s failed in its last attempt", claim.job, exc_info=error)
                public = error if isinstance(error, RerankdError) else RerankdError("Something went wrong.")
                return _error_row(public, is_dead_letter=True), 0

    async def _rank(self, claim: Claim, work: RankWork, request_id: str) -> _Outcome:
        request = replace(work.request, request_id=request_id, tenant=claim.tenant, source="job")
        rules = await self._pipeline.apply_rules(request)
        texts = [document.text for document in request.documents]
        # A long list is scored in slices, so that the requests of others are batched in between.
        slices = [
            await self._score([(rules.query, texts[start : start + SLICE_DOCUMENTS])], claim, request)
            for start in range(0, len(texts), SLICE_DOCUMENTS)
        ]
        result = await self._finish(claim, request, slices, rules)
        row = {
            "request_id": result.request_id,
            "model": result.model,
            "version": result.version,
            "results": [_ranked_row(document, work) for document in result],
            "usage": result.usage.to_dict(),
        } | _warnings_field(result.warnings)
        return row, result.computed_tokens or 0

    async def _finish(
        self, claim: Claim, request: RerankRequest, slices: Sequence[ModelScores], rules: AppliedRules
    ) -> RerankResult:
        """Return the result of a ranking, with spans if it asks for them; their sentences are scored in slices too."""
        if request.spans is None:
            return self._pipeline.finish(request, slices, rules)

        async def score(sentences: Sequence[str]) -> list[ModelScores]:
            return [
                await self._score([(rules.query, sentences[start : start + SLICE_DOCUMENTS])], claim, whole)
                for start in range(0, len(sentences), SLICE_DOCUMENTS)
            ]

        # A text that may not be cut was read whole, and so is each part of it.
        whole = replace(request, truncation=replace(request.truncation, allow_truncation=True))
        return await self._pipeline.finish_with_spans(request, slices, rules, score)

    async def _score_pairs(self, claim: Claim, work: ScoreWork) -> _Outcome:
        request = build_request("", [], model=work.model, truncation=work.truncation, cache=work.cache)
        scored = await self._score(work.groups, claim, request)
        row = {
            "model": scored.model,
            "version": scored.version,
            "policy": scored.truncation.identity,
            "scores": [[score.raw_score for score in group] for group in scored.result.scores],
            "usage": usage_of([score for group in scored.result.scores for score in group]).to_dict(),
        } | _warnings_field(scored.warnings)
        return row, scored.result.computed_tokens

    async def _score(self, groups: Sequence[QueryGroup], claim: Claim, request: RerankRequest) -> ModelScores:
        """Score pairs, waiting out backpressure: requeueing the part would throw away what is scored of it already."""
        retry_key = secrets.token_hex(8)  # the engine keeps a reservation for a request that comes back under its key
        while True:
            try:
                return await self._pipeline.score(groups, replace(_for_job(request, claim), retry_key=retry_key))
            except OverloadedError as error:
                await asyncio.sleep(error.retry_after)


def _decisive(error: BaseException) -> BaseException:
    """Return the error of a group that decides what happens to the part: an expired job before backpressure."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    causes = [_decisive(nested) for nested in error.exceptions]
    kinds = (DeadlineExceededError, OverloadedError, BaseException)
    return next(cause for kind in kinds for cause in causes if isinstance(cause, kind))


def _for_job(request: RerankRequest, claim: Claim) -> RerankRequest:
    """Return the request with its job's tenant and fairness key, and the time that is left until the job's deadline."""
    timeout = claim.deadline - time.time() if claim.deadline else None
    if timeout is not None and timeout <= 0:
        raise DeadlineExceededError("The job's deadline has passed.")
    is_bulk = claim.priority == "bulk"
    fairness_key = f"{claim.tenant}~bulk" if is_bulk else claim.tenant
    return replace(request, tenant=claim.tenant, timeout=timeout, fairness_key=fairness_key, background=is_bulk)


def _ranked_row(ranked: RankedDocument, work: RankWork) -> dict[str, Any]:
    row: dict[str, Any] = {
        "index": ranked.index,
        "relevance_score": ranked.relevance_score,
        "raw_score": ranked.raw_score,
        "truncated": ranked.truncated,
        "chunks": ranked.chunks,
    }
    if ranked.rules:
        row["rules"] = [asdict(rule) for rule in ranked.rules]
    if ranked.spans is not None:
        row["relevant_spans"] = [asdict(span) for span in ranked.spans]
    return row | {"document": work.returned_document(ranked.index)} if work.texts else row


def _warnings_field(warnings: Sequence[str]) -> dict[str, Any]:
    return {"meta": {"warnings": list(warnings)}} if warnings else {}


def _error_row(error: RerankdError, *, is_dead_letter: bool = False) -> dict[str, Any]:
    # "lost" is the stored name of a dead letter.
    return {"error": {"code": error.code, "message": str(error)} | ({"lost": True} if is_dead_letter else {})}
