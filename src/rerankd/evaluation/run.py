"""Runs to compare: a model that reranks the candidates, an external run, or the first stage itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.dataset_checks import without_own_documents
from rerankd.evaluation.trec import Rankings
from rerankd.ranking.order import fused
from rerankd.reranker import Reranker
from rerankd.types import Fusion

FIRST_STAGE = "first-stage"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of requests that are sent one at a time.

    Attributes:
        milliseconds: latency of each request, in the order of the queries that have candidates.
        pairs: number of scored candidates.
        truncated: number of candidates that were truncated.
    """

    milliseconds: tuple[float, ...]
    pairs: int
    truncated: int

    @property
    def mean(self) -> float:
        """Mean latency in milliseconds."""
        return float(np.mean(self.milliseconds))

    def quantile(self, share: float) -> float:
        """Return a latency quantile in milliseconds; 0.95 for p95."""
        return float(np.quantile(self.milliseconds, share))

    @property
    def pairs_per_second(self) -> float:
        """Throughput: pairs scored per second."""
        return 1000 * self.pairs / max(1e-9, sum(self.milliseconds))


@dataclass(frozen=True, slots=True)
class RankingRun:
    """A run: one ranking of documents per query, and what else is known about it.

    Attributes:
        name: name in tables and files.
        rankings: document ids by query id, best first.
        logits: raw score by query id and document id; None if it is not the run of a model.
        latency: latency of the model; None if it was not timed.
        description: how it was computed, for people.
    """

    name: str
    rankings: Rankings
    logits: Mapping[str, Mapping[str, float]] | None = None
    latency: Latency | None = None
    description: str = ""


def first_stage_run(dataset: Dataset) -> RankingRun:
    """Return the candidates in the order of the first stage."""
    return RankingRun(FIRST_STAGE, dataset.candidates, description=dataset.first_stage)


def rerank_dataset(name: str, reranker: Reranker, dataset: Dataset, progress: Progress | None = None) -> RankingRun:
    """Rerank the candidates of every query with a model, one request at a time, and time it.

    The first request is preceded by an untimed one for warm-up. Equal scores keep the order of the first stage.

    Args:
        name: name of the run.
        reranker: the model.
        dataset: queries with candidates; without any there are no rankings, and no latency.
        progress: called after each query with the number of queries done and the total.
    """
    rankings: dict[str, tuple[str, ...]] = {}
    logits: dict[str, dict[str, float]] = {}
    milliseconds, truncated = [], 0
    for completed, (query_id, candidates) in enumerate(dataset.candidates.items(), start=1):
        query, texts = dataset.queries[query_id], [dataset.documents[doc_id] for doc_id in candidates]
        if completed == 1:
            reranker.rank(query, texts[:8], None)
        started = time.perf_counter()
        result = reranker.rank(query, texts, None, activation="none")
        milliseconds.append((time.perf_counter() - started) * 1000)
        rankings[query_id] = tuple(candidates[ranked.index] for ranked in result)
        logits[query_id] = {candidates[ranked.index]: ranked.raw_score for ranked in result}
        truncated += result.usage.truncated
        if progress is not None:
            progress(completed, len(dataset.candidates))
    latency = Latency(tuple(milliseconds), sum(map(len, logits.values())), truncated) if milliseconds else None
    instruction = f", instruction {reranker.instruction[:80]!r}" if reranker.instruction else ""
    system = f"{reranker.backend}, max_length {reranker.max_length}{instruction}"
    return RankingRun(name, rankings, logits, latency, system)


def fuse_with_first_stage(run: RankingRun, dataset: Dataset, fusion: Fusion) -> RankingRun:
    """Return the run of a model fused with the first stage.

    Args:
        run: run of a model, with logits.
        dataset: the dataset that it ranked.
        fusion: method and weight of the first stage.

    Raises:
        InvalidRequestError: the run has no logits.
    """
    if run.logits is None:
        raise InvalidRequestError(f"{run.name} has no scores to fuse.", hint="Fuse a model.")
    rankings = {}
    for query_id, candidates in dataset.candidates.items():
        first_scores = dataset.scores.get(query_id, {})
        model_logits = [run.logits[query_id][doc_id] for doc_id in candidates]
        scores = fused(model_logits, [first_scores.get(doc_id, math.nan) for doc_id in candidates], fusion).tolist()
        order = sorted(range(len(candidates)), key=lambda position: (-scores[position], position))
        rankings[query_id] = tuple(candidates[position] for position in order)
    description = f"{fusion.method}, first stage x {fusion.weight:g}"
    return RankingRun(f"{run.name} + {FIRST_STAGE}", rankings, description=description)


def external_run(name: str, rankings: Rankings, dataset: Dataset) -> RankingRun:
    """Return a run that was computed elsewhere, limited to the judged queries, and without the queries themselves.

    Raises:
        InvalidInputFileError: it ranks none of the judged queries.
    """
    judged = {query_id: rankings[query_id] for query_id in dataset.queries if rankings.get(query_id)}
    if not judged:
        raise InvalidInputFileError(
            f"The run {name} ranks none of the judged queries of {dataset.name}.",
            hint="Check that run and judgements use the same query ids.",
        )
    return RankingRun(name, without_own_documents(judged, dataset.qrels), description="a run that was given")
