"""A request that is part of an experiment: scored by its arm, measured, and answered by the champion where that fails.

The caller gets the champion's answer whenever the challenger has none, so an experiment costs nobody an answer; the
failure counts against the challenger. What the champion refuses as well is the caller's own mistake and counts for
nobody.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from rerankd._common.logging import logger
from rerankd.errors import DeadlineExceededError, InvalidRequestError, RateLimitedError, ScoringError
from rerankd.experiments.experiment import CHALLENGER, CHAMPION, FALLBACK, INTERLEAVED
from rerankd.experiments.router import Route
from rerankd.experiments.traffic import Traffic, request_metrics
from rerankd.pipeline.scores import ModelScores, OneTimeCharge

_log = logger(__name__)
Score = Callable[[str], Awaitable[ModelScores]]


class VariantScorer:
    """Scores one request as its route says.

    Args:
        route: arm that serves it.
        traffic: told what came of it.
        charge: of the request.
        fallback: whether the champion answers where the challenger cannot; not where pieces of one ranking come one
            after the other, since scores of two models do not mix.
    """

    def __init__(self, route: Route, traffic: Traffic, charge: OneTimeCharge, *, fallback: bool = True) -> None:
        self._route, self._traffic, self._charge, self._fallback = route, traffic, charge, fallback
        self._experiment = route.experiment

    async def scored(self, name: str, score: Score) -> ModelScores:
        """Score.

        Args:
            name: of the champion.
            score: scores the request on a model of the pool.

        Raises:
            RerankdError: whatever is wrong with the request, the champion or the moment.
        """
        if self._route.variant == INTERLEAVED:
            return await self._both(name, score)
        if self._route.variant == CHAMPION:
            return self._part(await self._champion(name, score), name, CHAMPION)
        return await self._challenged(name, score)

    def timed_out(self) -> None:
        """The caller's time was up before there was an answer."""
        arm = CHALLENGER if self._route.variant == INTERLEAVED else self._route.variant
        self._traffic.record(self._route, arm, request_metrics(self._experiment, timeouts=True))

    def _part(self, found: ModelScores, name: str, variant: str) -> ModelScores:
        self._traffic.count_answer(self._route, variant)
        return replace(found, model=name, experiment=self._experiment.name, variant=variant)

    async def _champion(self, name: str, score: Score) -> ModelScores:
        began = time.monotonic()
        try:
            found = await score(name)
        except Exception as error:
            if not self._of_caller(error):
                self._failed(CHAMPION, error)
            raise
        self._measured(CHAMPION, found, began)
        return found

    async def _challenged(self, name: str, score: Score) -> ModelScores:
        failure = await self._tried(score)
        if isinstance(failure, ModelScores):
            return self._part(failure, name, CHALLENGER)
        try:
            found = await score(name)
        except InvalidRequestError:
            raise  # neither model takes it
        except Exception:
            self._failed(CHALLENGER, failure)
            raise
        self._failed(CHALLENGER, failure)
        return self._part(found, name, FALLBACK)

    async def _both(self, name: str, score: Score) -> ModelScores:
        other = asyncio.create_task(self._tried(score))
        try:
            found = await self._champion(name, score)
            tried = await other
        finally:
            other.cancel()
            await asyncio.gather(other, return_exceptions=True)
        if isinstance(tried, ModelScores):
            return replace(self._part(found, name, INTERLEAVED), other=tried.scored)
        self._failed(CHALLENGER, tried)
        return self._part(found, name, FALLBACK)

    async def _tried(self, score: Score) -> ModelScores | Exception:
        """The challenger's scores, or why there are none.

        Raises:
            RateLimitedError: the caller has used up its share.
        """
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._experiment.plan.patience):
                found = await score(self._experiment.served_as)
            _check_finite(found)
        except Exception as error:
            if error is self._charge.refusal or not self._fallback:
                raise
            return error
        self._measured(CHALLENGER, found, began)
        return found

    def _measured(self, arm: str, found: ModelScores, began: float) -> None:
        # What came from the cache says nothing of the model, and the champion's is warm when the challenger's is not.
        spent = math.nan if found.scored.cached else (time.monotonic() - began) * 1000
        self._traffic.record(self._route, arm, request_metrics(self._experiment, milliseconds=spent))

    def _failed(self, arm: str, error: Exception) -> None:
        late, empty = isinstance(error, TimeoutError | DeadlineExceededError), isinstance(error, ScoringError)
        self._traffic.record(
            self._route, arm, request_metrics(self._experiment, errors=not late, timeouts=late, empty=empty)
        )
        if arm == CHALLENGER:
            _log.warning("%s: the challenger failed (%s), the champion answers", self._experiment.name, _said(error))

    def _of_caller(self, error: Exception) -> bool:
        return error is self._charge.refusal or isinstance(error, InvalidRequestError | RateLimitedError)


def _check_finite(found: ModelScores) -> None:
    if not all(math.isfinite(score.raw_score) for group in found.scored.scores for score in group):
        raise ScoringError("The model gave no usable score.")


def _said(error: Exception) -> str:
    return type(error).__name__
