"""What is compared: a model that reranks the candidates, a run that was made elsewhere, or the first stage itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.trec import Rankings
from rerankd.ranking.order import fused
from rerankd.reranker import Reranker
from rerankd.types import Fusion

FIRST_STAGE = "first-stage"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one request at a time, in milliseconds.

    Attributes:
        milliseconds: of each request, in the order of the queries that have candidates.
        pairs: candidates scored.
        truncated: of them, not read to the end.
    """

    milliseconds: tuple[float, ...]
    pairs: int
    truncated: int

    @property
    def mean(self) -> float:
        """Mean over requests."""
        return float(np.mean(self.milliseconds))

    def quantile(self, share: float) -> float:
        """Time within which that share of the requests was answered."""
        return float(np.quantile(self.milliseconds, share))

    @property
    def pairs_per_second(self) -> float:
        """Pairs scored in a second of work."""
        return 1000 * self.pairs / max(1e-9, sum(self.milliseconds))


@dataclass(frozen=True, slots=True)
class System:
    """One way to order a dataset's documents.

    Attributes:
        name: what it is called in tables.
        rankings: its orders.
        logits: raw score of every document of every query, where a model gave them.
        latency: where a model was timed.
        description: what computed it.
    """

    name: str
    rankings: Rankings
    logits: Mapping[str, Mapping[str, float]] | None = None
    latency: Latency | None = None
    description: str = ""


def first_stage(dataset: Dataset) -> System:
    """The candidates as they came."""
    return System(FIRST_STAGE, dataset.candidates, description=dataset.first_stage)


def ranked_by(name: str, reranker: Reranker, dataset: Dataset, progress: Progress | None = None) -> System:
    """Rank every query's candidates with a model, one request at a time; the first is ranked once more, untimed.

    Equal scores keep the first stage's order.
    """
    rankings: dict[str, tuple[str, ...]] = {}
    logits: dict[str, dict[str, float]] = {}
    milliseconds, truncated = [], 0
    for done, (query, candidates) in enumerate(dataset.candidates.items(), start=1):
        texts = [dataset.documents[document] for document in candidates]
        if done == 1:
            reranker.rank(dataset.queries[query], texts[:8], None)
        started = time.perf_counter()
        result = reranker.rank(dataset.queries[query], texts, None, activation="none")
        milliseconds.append((time.perf_counter() - started) * 1000)
        rankings[query] = tuple(candidates[ranked.index] for ranked in result)
        logits[query] = {candidates[ranked.index]: ranked.raw_score for ranked in result}
        truncated += result.usage.truncated
        if progress is not None:
            progress(done, len(dataset.candidates))
    latency = Latency(tuple(milliseconds), sum(map(len, logits.values())), truncated)
    return System(name, rankings, logits, latency, f"{reranker.backend}, max_length {reranker.max_length}")


def fused_with_first_stage(system: System, dataset: Dataset, fusion: Fusion) -> System:
    """A model's order with the first stage counted in.

    Raises:
        InvalidRequestError: the system is no model that gave scores.
    """
    if system.logits is None:
        raise InvalidRequestError(f"{system.name} has no scores to fuse.", hint="Fuse a model.")
    rankings = {}
    for query, candidates in dataset.candidates.items():
        known = dataset.scores.get(query, {})
        first = [known.get(document, math.nan) for document in candidates]
        values = fused([system.logits[query][document] for document in candidates], first, fusion).tolist()
        order = sorted(range(len(candidates)), key=lambda place: (-values[place], place))
        rankings[query] = tuple(candidates[place] for place in order)
    about = f"{fusion.method}, first stage x {fusion.weight:g}"
    return System(f"{system.name} + {FIRST_STAGE}", rankings, description=about)


def given(name: str, rankings: Rankings, dataset: Dataset) -> System:
    """A run that was made elsewhere.

    Raises:
        InvalidInputFileError: it ranks none of the judged queries.
    """
    kept = {query: rankings[query] for query in dataset.queries if rankings.get(query)}
    if not kept:
        raise InvalidInputFileError(
            f"The run {name} ranks none of the judged queries of {dataset.name}.",
            hint="Check that run and judgements use the same query ids.",
        )
    return System(name, kept, description="a run that was given")
