"""One evaluation inside a service: its dataset is reranked by models of the pool, as background work, and measured.

A little of it waits in the engine at a time, and none is handed over while others' requests wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rerankd.engine.pool import ModelPool
from rerankd.engine.request import QueryGroup
from rerankd.errors import OverloadedError, RateLimitedError
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.evaluation import evaluate
from rerankd.evaluation.measures import DEFAULT_MEASURES
from rerankd.evaluation.packing import packed_headline, packed_queries, packed_result
from rerankd.evaluation.run import RankingRun, first_stage_run
from rerankd.pipeline.pipeline import Pipeline
from rerankd.pipeline.scores import ModelScores
from rerankd.server.auth.keys import ApiKey
from rerankd.server.auth.quotas import QuotaStore
from rerankd.types import RerankRequest

SLICE_PAIRS = 64
POLITE_SECONDS = 1.0  # longest wait for others before each slice, so that a busy service still gets done
POLL_SECONDS = 0.02
QUOTA_SECONDS = 120.0  # longest wait for a quota that refills

Score = Callable[[str, Sequence[QueryGroup]], Awaitable[ModelScores]]
Progress = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ModelRun:
    """A dataset reranked by a model, and what that took.

    Attributes:
        run: the rankings.
        facts: version of the model, pairs, tokens, truncated pairs and seconds.
        truncated: positions of the truncated candidates of each query.
    """

    run: RankingRun
    facts: dict[str, Any]
    truncated: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class MeasuredDataset:
    """Results of an evaluation as they are stored; see `rerankd.evaluation.packing`."""

    result: dict[str, Any]
    headline: dict[str, Any]
    queries: list[dict[str, Any]]


class BackgroundScorer:
    """Scores on models of the pool as background work, and charges the key that asked for it.

    Args:
        pipeline: pipeline of the service.
        pool: models of the service.
        quotas: store of the quotas.
        key: key that is charged; None where none is required.
    """

    def __init__(self, pipeline: Pipeline, pool: ModelPool, quotas: QuotaStore, key: ApiKey | None) -> None:
        self._pipeline, self._pool, self._quotas, self._key = pipeline, pool, quotas, key
        tenant = "" if key is None else key.tenant_id
        # Nothing is cached: an evaluation must not push out the scores that requests will ask for.
        self._request = RerankRequest(
            "", [], fairness_key=f"{tenant}~bulk", tenant=tenant, source="job", background=True, cache=False
        )
        self._charged = 0

    async def score(self, model: str, groups: Sequence[QueryGroup]) -> ModelScores:
        """Score groups of pairs, once others are served and the queue and the quota have room.

        Raises:
            RateLimitedError: the quota does not refill soon.
            RerankdError: the model cannot score.
        """
        while True:
            try:
                await self._let_others_pass(model)
                scores = await self._pipeline.score_on(model, groups, self._request, self._charge)
            except OverloadedError as error:
                await self._settle(0)
                await asyncio.sleep(error.retry_after)
            except RateLimitedError as error:
                if error.retry_after > QUOTA_SECONDS:
                    raise
                await asyncio.sleep(error.retry_after)
            except BaseException:
                await self._settle(0)
                raise
            else:
                await self._settle(scores.result.computed_tokens)
                return scores

    async def _let_others_pass(self, model: str) -> None:
        deadline = time.monotonic() + POLITE_SECONDS
        while (served := self._pool.loaded.get(model)) and served.engine.queued_requests:
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _charge(self, tokens: int) -> None:
        if self._key is not None:
            await self._quotas.charge(self._key, tokens, time.time())
            self._charged = tokens

    async def _settle(self, tokens: int) -> None:
        if self._key is not None and self._charged:
            charged, self._charged = self._charged, 0
            await self._quotas.correct(self._key, tokens - charged, time.time())


async def rerank(dataset: Dataset, model: str, score: Score, progress: Progress) -> ModelRun:
    """Rerank the candidates of every query; equal scores keep the order of the first stage.

    Args:
        dataset: queries with candidates.
        model: name of the model in the pool.
        score: scores groups of pairs.
        progress: called after each slice with the number of its pairs.
    """
    started = time.perf_counter()
    rankings: dict[str, tuple[str, ...]] = {}
    logits: dict[str, dict[str, float]] = {}
    truncated: dict[str, list[int]] = {}
    facts: dict[str, Any] = {"version": "", "pairs": 0, "tokens": 0, "truncated": 0}
    for query_ids in _slices(dataset):
        scores = await score(model, [_group(dataset, query_id) for query_id in query_ids])
        for query_id, group in zip(query_ids, scores.result.scores, strict=True):
            doc_ids = dataset.candidates[query_id]
            logits[query_id] = {doc_id: one.raw_score for doc_id, one in zip(doc_ids, group, strict=True)}
            rankings[query_id] = tuple(sorted(doc_ids, key=lambda doc_id: -logits[query_id][doc_id]))
            truncated[query_id] = [position for position, one in enumerate(group) if one.truncated]
            facts["truncated"] += len(truncated[query_id])
            facts["pairs"] += len(group)
        facts["version"], facts["max_length"] = scores.version, scores.truncation.max_length
        facts["tokens"] += scores.result.computed_tokens
        await progress(sum(len(dataset.candidates[query_id]) for query_id in query_ids))
    facts["seconds"] = round(time.perf_counter() - started, 3)
    description = f"version {facts['version']}, max_length {facts['max_length']}" if rankings else ""
    return ModelRun(RankingRun(model, rankings, logits, None, description), facts, truncated)


def measure(dataset: Dataset, runs: Sequence[ModelRun]) -> MeasuredDataset:
    """Measure the order of the first stage and that of each model; blocks."""
    evaluation = evaluate([(dataset, [first_stage_run(dataset), *(each.run for each in runs)])], DEFAULT_MEASURES)
    result = packed_result(evaluation) | {"models": {each.run.name: each.facts for each in runs}}
    queries = packed_queries(evaluation.results[0])
    for query_id, query in zip(result["query_ids"], queries, strict=True):
        query["truncated"] = {
            each.run.name: positions for each in runs if (positions := each.truncated.get(query_id, []))
        }
    return MeasuredDataset(result, packed_headline(evaluation), queries)


def _slices(dataset: Dataset) -> Iterator[list[str]]:
    """Yield queries whose candidates are together about `SLICE_PAIRS`."""
    chosen: list[str] = []
    pairs = 0
    for query_id, doc_ids in dataset.candidates.items():
        if chosen and pairs + len(doc_ids) > SLICE_PAIRS:
            yield chosen
            chosen, pairs = [], 0
        chosen.append(query_id)
        pairs += len(doc_ids)
    if chosen:
        yield chosen


def _group(dataset: Dataset, query_id: str) -> QueryGroup:
    return dataset.queries[query_id], [dataset.documents[doc_id] for doc_id in dataset.candidates[query_id]]
