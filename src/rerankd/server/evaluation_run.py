"""One evaluation inside a service: its dataset is reranked by models of the pool, as background work, and measured.

It is handed to the engine in slices. While others send requests a slice takes about a tenth of a second and waits for a
pause between them; where there is no pause, the evaluation gets about a twentieth of the time.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from rerankd.engine.pool import ModelPool
from rerankd.engine.request import QueryGroup
from rerankd.errors import ConflictError, OverloadedError, RateLimitedError, UnavailableError
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.evaluation import evaluate
from rerankd.evaluation.measures import DEFAULT_MEASURES
from rerankd.evaluation.packing import packed_headline, packed_queries, packed_result
from rerankd.evaluation.run import RankingRun, first_stage_run
from rerankd.pipeline.pipeline import Pipeline
from rerankd.pipeline.scores import ModelScores
from rerankd.ranking.requests import build_request
from rerankd.server.auth.keys import ApiKey
from rerankd.server.auth.quotas import QuotaStore

SLICE_SECONDS = 0.1
IDLE_SLICE_SECONDS = 0.5  # of a slice while nobody else has sent a request for `IDLE_SECONDS`
IDLE_SECONDS = 5.0
FIRST_SLICE, MAX_SLICE = 8, 256  # pairs
PATIENCE = (
    10.0  # longest wait for a pause, in multiples of what the slice before took, so that a busy service gets done
)
POLL_SECONDS = 0.005
POLLS = 10  # without a request of others that make a pause
QUOTA_SECONDS = 120.0  # longest wait for a quota that refills
ATTEMPTS = 5  # at a model that is being replaced, or has crashed

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
        self._request = build_request(
            "", [], fairness_key=f"{tenant}~bulk", tenant=tenant, source="job", background=True, cache=False
        )
        self._counted = False  # an evaluation is one request
        self._charged = 0
        self._last_seconds = 0.0
        self._others_at = -math.inf

    @property
    def slice_seconds(self) -> float:
        """Seconds that a slice should take."""
        return SLICE_SECONDS if time.monotonic() - self._others_at < IDLE_SECONDS else IDLE_SLICE_SECONDS

    async def score(self, model: str, groups: Sequence[QueryGroup]) -> ModelScores:
        """Score groups of pairs, once others are served and the queue and the quota have room.

        Raises:
            RateLimitedError: the quota does not refill soon.
            RerankdError: the model cannot score.
        """
        attempts = 0
        while True:
            try:
                await self._await_pause(model)
                started = time.monotonic()
                scores = await self._pipeline.score_on(model, groups, self._request, self._charge)
            except OverloadedError as error:
                await self._settle(0)
                await asyncio.sleep(error.retry_after)
            except RateLimitedError as error:
                if error.retry_after > QUOTA_SECONDS:
                    raise
                await asyncio.sleep(error.retry_after)
            except UnavailableError as error:
                await self._settle(0)
                attempts += 1
                if attempts == ATTEMPTS:
                    raise
                await asyncio.sleep(error.retry_after)
            except BaseException:
                await self._settle(0)
                raise
            else:
                self._last_seconds = time.monotonic() - started
                await self._settle(scores.result.computed_tokens)
                return scores

    async def _await_pause(self, model: str) -> None:
        deadline, idle = time.monotonic() + PATIENCE * max(self._last_seconds, SLICE_SECONDS), 0
        while idle < POLLS:
            served, now = self._pool.loaded.get(model), time.monotonic()
            if served and served.engine.queued_requests:
                self._others_at, idle = now, 0
            elif now - self._others_at > IDLE_SECONDS:
                return
            if now > deadline:
                return
            idle += 1
            await asyncio.sleep(POLL_SECONDS)

    async def _charge(self, tokens: int) -> None:
        if self._key is not None:
            await self._quotas.charge(self._key, tokens, time.time(), requests=0 if self._counted else 1)
            self._counted, self._charged = True, tokens

    async def _settle(self, tokens: int) -> None:
        if self._key is not None and self._charged:
            charged, self._charged = self._charged, 0
            await self._quotas.correct(self._key, tokens - charged, time.time())


class SliceSize:
    """Number of pairs that are scored within a time, learnt from the slices before.

    Example:
        >>> size = SliceSize()
        >>> size.learn(0.01, 0.1), size.pairs
        (None, 16)
    """

    def __init__(self) -> None:
        self.pairs = FIRST_SLICE

    def learn(self, seconds: float, target: float) -> None:
        """Adapt the number to the time that a slice took and to the time that one should take."""
        if seconds > target:
            self.pairs = max(1, self.pairs // 2)
        elif seconds < target / 2:
            self.pairs = min(MAX_SLICE, self.pairs * 2)


async def rerank(
    dataset: Dataset, model: str, scorer: BackgroundScorer, progress: Progress, *, label: str = ""
) -> ModelRun:
    """Rerank the candidates of every query; equal scores keep the order of the first stage.

    Args:
        dataset: queries with candidates.
        model: name of the model in the pool.
        scorer: scores pairs of the model.
        progress: called after each slice with the number of its pairs.
        label: name of the run; empty for the model's name in the pool.

    Raises:
        ConflictError: another version of the model answers than at first: scores of two do not mix.
        RerankdError: the model cannot score.
    """
    pairs = [(query_id, doc_id) for query_id, doc_ids in dataset.candidates.items() for doc_id in doc_ids]
    logits: dict[str, dict[str, float]] = {query_id: {} for query_id in dataset.candidates}
    truncated: dict[str, list[int]] = {query_id: [] for query_id in dataset.candidates}
    facts: dict[str, Any] = {"version": "", "max_length": None, "pairs": len(pairs), "tokens": 0, "seconds": 0.0}
    started, size, done = time.perf_counter(), SliceSize(), 0
    while done < len(pairs):
        chosen = pairs[done : done + size.pairs]
        groups = {query_id: [doc_id for _, doc_id in each] for query_id, each in groupby(chosen, itemgetter(0))}
        scores = await scorer.score(model, [_group(dataset, *group) for group in groups.items()])
        if facts["version"] not in ("", scores.version):
            raise ConflictError(
                f"Model {(label or model)[:100]} was replaced meanwhile.", hint="Start the evaluation again."
            )
        size.learn(scores.result.timings["total"] / 1000, scorer.slice_seconds)
        for (query_id, doc_ids), group in zip(groups.items(), scores.result.scores, strict=True):
            for doc_id, one in zip(doc_ids, group, strict=True):
                if one.truncated:
                    truncated[query_id].append(len(logits[query_id]))
                logits[query_id][doc_id] = one.raw_score
        facts |= {"version": scores.version, "max_length": scores.truncation.max_length}
        facts["tokens"] += scores.result.computed_tokens
        done += len(chosen)
        await progress(len(chosen))
    facts |= {"seconds": round(time.perf_counter() - started, 3), "truncated": sum(map(len, truncated.values()))}
    rankings = {
        query_id: tuple(sorted(logit_of, key=lambda doc_id: -logit_of[doc_id])) for query_id, logit_of in logits.items()
    }
    description = f"version {facts['version']}, max_length {facts['max_length']}" if rankings else ""
    return ModelRun(RankingRun(label or model, rankings, logits, None, description), facts, truncated)


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


def _group(dataset: Dataset, query_id: str, doc_ids: Sequence[str]) -> QueryGroup:
    return dataset.queries[query_id], [dataset.documents[doc_id] for doc_id in doc_ids]
