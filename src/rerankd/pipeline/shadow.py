"""Shadow traffic: answered rankings are scored again by challengers, in the background, and compared.

One ranking at a time is compared, as background work of its engine, after its answer was sent. Rankings that do not fit
into a short queue are dropped and counted. Nothing of this ever reaches a caller.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import numpy as np

from rerankd._common.logging import logger
from rerankd._common.rank_correlation import kendall_tau_of_ranks, rank_biased_overlap
from rerankd.experiments.experiment import CHALLENGER
from rerankd.experiments.router import Route
from rerankd.experiments.traffic import AnsweredRanking, QueryTexts, Traffic
from rerankd.pipeline.scores import ModelScores
from rerankd.types import RerankRequest

MAX_WAITING, MAX_CHARACTERS = 64, 16_000_000
OUTCOMES = ("compared", "dropped", "failed")
ScoreOn = Callable[[str, Sequence[QueryTexts], RerankRequest], Awaitable[ModelScores]]
Defer = Callable[[Callable[[], None]], None]
_log = logger(__name__)


class ShadowQueue:
    """Rankings waiting to be compared. Belongs to one event loop.

    Args:
        score_on: scores on a model of the pool, by its name there.
        traffic: counters of the experiments.
        defer: calls a function once the request's answer is sent; by default at once.

    Attributes:
        counts: rankings by experiment and outcome: `compared`, `dropped` or `failed`.
    """

    def __init__(self, score_on: ScoreOn, traffic: Traffic, defer: Defer = lambda call: call()) -> None:
        self._score_on, self._traffic, self._defer = score_on, traffic, defer
        self._waiting: deque[tuple[AnsweredRanking, Route, int]] = deque()
        self._characters = 0
        self._worker: asyncio.Task[None] | None = None
        self.counts: Counter[tuple[str, str]] = Counter()

    def offer(self, ranking: AnsweredRanking, routes: Sequence[Route]) -> None:
        """Queue a ranking for comparison, once its answer is sent.

        Args:
            ranking: the answered ranking.
            routes: the shadow experiments that want it.
        """
        self._defer(lambda: self._put(ranking, routes))

    async def join(self) -> None:
        """Return when nothing is waiting."""
        while self._worker is not None and not self._worker.done():
            await asyncio.wait([self._worker])

    async def close(self) -> None:
        """Drop the waiting rankings and stop."""
        self._waiting.clear()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    def _put(self, ranking: AnsweredRanking, routes: Sequence[Route]) -> None:
        characters = sum(len(query) + sum(map(len, texts)) for query, texts in ranking.groups)
        for route in routes:
            if len(self._waiting) >= MAX_WAITING or self._characters + characters > MAX_CHARACTERS:
                self.counts[route.experiment.name, "dropped"] += 1
                continue
            self._waiting.append((ranking, route, characters))
            self._characters += characters
        if self._waiting and (self._worker is None or self._worker.done()):
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._waiting:
            ranking, route, characters = self._waiting.popleft()
            try:
                await self._compare(ranking, route)
            finally:
                self._characters -= characters

    async def _compare(self, ranking: AnsweredRanking, route: Route) -> None:
        experiment = route.experiment
        request = replace(ranking.request, background=True, timeout=None, retry_key="")
        try:
            async with asyncio.timeout(experiment.plan.patience):
                scores = await self._score_on(experiment.served_as, ranking.groups, request)
            logits = [score.raw_score for score in scores.result.scores[0]]
            metrics = await asyncio.to_thread(agreement_metrics, ranking.logits, logits)
        except Exception as error:  # a failure of the challenger is a result of the experiment
            self._traffic.record(route, CHALLENGER, {"errors": 1.0})
            self.counts[experiment.name, "failed"] += 1
            _log.info("%s: a shadow comparison failed (%s)", experiment.name, type(error).__name__)
            return
        milliseconds = math.nan if scores.result.cached else scores.result.timings.get("total", math.nan)
        if milliseconds > 0 and ranking.milliseconds > 0:
            metrics["latency"] = math.log(milliseconds / ranking.milliseconds)
        self._traffic.record(route, CHALLENGER, metrics)
        self.counts[experiment.name, "compared"] += 1


def agreement_metrics(champion: Sequence[float], challenger: Sequence[float]) -> dict[str, float]:
    """Measure the agreement of two rankings of the same documents.

    Args:
        champion: logits of the champion, shape (documents,).
        challenger: logits of the challenger, in the same shape.

    Returns:
        `errors`: 0; `top1`: 1 if the same document is first; `tau`: Kendall's tau, left out for a single document;
        `rbo`: rank-biased overlap.

    Example:
        >>> agreement_metrics([3.0, 2.0, 1.0], [9.0, 1.0, 5.0])
        {'errors': 0.0, 'top1': 1.0, 'rbo': 0.95..., 'tau': 0.33...}
    """
    if not np.isfinite(challenger).all():
        raise ValueError("scores are not finite")
    orders = [np.argsort(-np.asarray(logits), kind="stable") for logits in (champion, challenger)]
    positions = np.empty(len(champion), np.int64)
    positions[orders[1]] = np.arange(1, len(champion) + 1)
    ranks = positions[orders[0]]
    metrics = {"errors": 0.0, "top1": float(ranks[0] == 1), "rbo": rank_biased_overlap(ranks) or 0.0}
    tau = kendall_tau_of_ranks(ranks.tolist())
    return metrics if tau is None else metrics | {"tau": tau}
