"""Scores answered rankings again on challengers, in the background, and compares: never before the answer is sent.

One ranking is compared at a time, as background work of its engine; what does not fit into a short queue is dropped
and counted. Nothing of it ever reaches a request.
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
Later = Callable[[Callable[[], None]], None]
_log = logger(__name__)


class ShadowQueue:
    """Rankings that wait to be compared; belongs to one event loop.

    Args:
        score_on: scores on a model of the pool.
        traffic: told what was found.
        later: calls something once the request's answer is sent; by default at once.
    """

    def __init__(self, score_on: ScoreOn, traffic: Traffic, later: Later = lambda call: call()) -> None:
        self._score_on, self._traffic, self._later = score_on, traffic, later
        self._waiting: deque[tuple[AnsweredRanking, Route, int]] = deque()
        self._characters = 0
        self._worker: asyncio.Task[None] | None = None
        self.counts: Counter[tuple[str, str]] = Counter()

    def offer(self, answered: AnsweredRanking, routes: Sequence[Route]) -> None:
        """Take a ranking; it is compared once its answer is sent."""
        self._later(lambda: self._put(answered, routes))

    async def settled(self) -> None:
        """Return when nothing waits."""
        while self._worker is not None and not self._worker.done():
            await asyncio.wait([self._worker])

    async def close(self) -> None:
        """Drop what waits."""
        self._waiting.clear()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    def _put(self, answered: AnsweredRanking, routes: Sequence[Route]) -> None:
        size = sum(len(query) + sum(map(len, texts)) for query, texts in answered.groups)
        for route in routes:
            if len(self._waiting) >= MAX_WAITING or self._characters + size > MAX_CHARACTERS:
                self.counts[route.experiment.name, "dropped"] += 1
                continue
            self._waiting.append((answered, route, size))
            self._characters += size
        if self._waiting and (self._worker is None or self._worker.done()):
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._waiting:
            answered, route, size = self._waiting.popleft()
            try:
                await self._compare(answered, route)
            finally:
                self._characters -= size

    async def _compare(self, answered: AnsweredRanking, route: Route) -> None:
        experiment = route.experiment
        asked = replace(answered.request, background=True, timeout=None, retry_key="")
        try:
            async with asyncio.timeout(experiment.plan.patience):
                found = await self._score_on(experiment.served_as, answered.groups, asked)
            logits = [score.raw_score for score in found.scored.scores[0]]
            values = await asyncio.to_thread(compared, answered.logits, logits)
        except Exception as error:  # a challenger's failure is a finding
            self._traffic.record(route, CHALLENGER, {"errors": 1.0})
            self.counts[experiment.name, "failed"] += 1
            _log.info("%s: a ranking could not be compared (%s)", experiment.name, type(error).__name__)
            return
        spent = math.nan if found.scored.cached else found.scored.timings.get("total", math.nan)
        if spent > 0 and answered.milliseconds > 0:
            values["latency"] = math.log(spent / answered.milliseconds)
        self._traffic.record(route, CHALLENGER, values)
        self.counts[experiment.name, "compared"] += 1


def compared(champion: Sequence[float], challenger: Sequence[float]) -> dict[str, float]:
    """How far two rankings of the same documents agree.

    Args:
        champion: its logits, shape (documents,).
        challenger: the other model's.

    Returns:
        `errors`: 0; `top1`: whether the same is first; `tau`: Kendall's; `rbo`: rank-biased overlap. `tau` is left out
        for a single document.

    Example:
        >>> compared([3.0, 2.0, 1.0], [9.0, 1.0, 5.0])
        {'errors': 0.0, 'top1': 1.0, 'rbo': 0.95..., 'tau': 0.33...}
    """
    if not np.isfinite(challenger).all():
        raise ValueError("scores are not finite")
    orders = [np.argsort(-np.asarray(logits), kind="stable") for logits in (champion, challenger)]
    places = np.empty(len(champion), np.int64)
    places[orders[1]] = np.arange(1, len(champion) + 1)
    ranks = places[orders[0]]
    values = {"errors": 0.0, "top1": float(ranks[0] == 1), "rbo": rank_biased_overlap(ranks) or 0.0}
    tau = kendall_tau_of_ranks(ranks.tolist())
    return values if tau is None else values | {"tau": tau}
