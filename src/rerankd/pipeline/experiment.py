"""Scoring of a request that is part of an experiment.

A caller gets the champion's answer whenever the challenger has none, so that an experiment never costs anybody an
answer; the failure counts against the challenger. A request that the champion refuses as well is the caller's mistake
and counts against neither.
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
    """Scores one request with the variant that serves it.

    Args:
        route: experiment and variant of the request.
        traffic: counters of the experiment.
        charge: quota charge of the request.
        fallback: True if the champion may answer where the challenger fails; False for pieces of one ranking that are
            scored one after the other, since scores of two models do not mix.
    """

    def __init__(self, route: Route, traffic: Traffic, charge: OneTimeCharge, *, fallback: bool = True) -> None:
        self._route, self._traffic, self._charge, self._fallback = route, traffic, charge, fallback
        self._experiment = route.experiment

    async def score(self, champion: str, score_on: Score) -> ModelScores:
        """Score the request.

        Args:
            champion: name of the champion in the pool.
            score_on: scores the request on a model of the pool, by its name there.

        Raises:
            RerankdError: the request cannot be used, or the champion cannot score it.
        """
        if self._route.variant == INTERLEAVED:
            return await self._score_both(champion, score_on)
        if self._route.variant == CHAMPION:
            return self._labelled(await self._score_champion(champion, score_on), champion, CHAMPION)
        outcome = await self._try_challenger(score_on)
        if isinstance(outcome, ModelScores):
            return self._labelled(outcome, champion, CHALLENGER)
        return await self._fall_back(champion, score_on, outcome)

    def record_timeout(self) -> None:
        """Count that the caller's time was up before there was an answer."""
        variant = CHALLENGER if self._route.variant == INTERLEAVED else self._route.variant
        self._traffic.record(self._route, variant, request_metrics(self._experiment, timeouts=True))

    def _labelled(self, scores: ModelScores, model: str, variant: str) -> ModelScores:
        """Count the answer; it names the model that the caller asked for, and the variant."""
        self._traffic.count_answer(self._route, variant)
        return replace(scores, model=model, experiment=self._experiment.name, variant=variant)

    async def _score_champion(self, champion: str, score_on: Score) -> ModelScores:
        started = time.monotonic()
        try:
            scores = await score_on(champion)
        except Exception as error:
            if not self._is_callers_mistake(error):
                self._record_failure(CHAMPION, error)
            raise
        self._record_success(CHAMPION, scores, started)
        return scores

    async def _fall_back(self, champion: str, score_on: Score, failure: Exception) -> ModelScores:
        """Answer with the champion where the challenger failed."""
        try:
            scores = await score_on(champion)
        except InvalidRequestError:
            raise  # neither model takes it
        except Exception:
            self._record_failure(CHALLENGER, failure)
            raise
        self._record_failure(CHALLENGER, failure)
        return self._labelled(scores, champion, FALLBACK)

    async def _score_both(self, champion: str, score_on: Score) -> ModelScores:
        task = asyncio.create_task(self._try_challenger(score_on))
        try:
            scores = await self._score_champion(champion, score_on)
            outcome = await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if isinstance(outcome, ModelScores):
            return replace(self._labelled(scores, champion, INTERLEAVED), challenger=outcome.result)
        self._record_failure(CHALLENGER, outcome)
        return self._labelled(scores, champion, FALLBACK)

    async def _try_challenger(self, score_on: Score) -> ModelScores | Exception:
        """Return the challenger's scores, or the reason why there are none.

        Raises:
            RateLimitedError: the caller's quota is used up.
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._experiment.plan.patience):
                scores = await score_on(self._experiment.served_as)
            _check_finite(scores)
        except Exception as error:
            if error is self._charge.refusal or not self._fallback:
                raise
            return error
        self._record_success(CHALLENGER, scores, started)
        return scores

    def _record_success(self, variant: str, scores: ModelScores, started: float) -> None:
        # A cached score says nothing about the model, and the champion's cache is warm when the challenger's is not.
        milliseconds = math.nan if scores.result.cached else (time.monotonic() - started) * 1000
        self._traffic.record(self._route, variant, request_metrics(self._experiment, milliseconds=milliseconds))

    def _record_failure(self, variant: str, error: Exception) -> None:
        timeout = isinstance(error, TimeoutError | DeadlineExceededError)
        metrics = request_metrics(
            self._experiment, errors=not timeout, timeouts=timeout, empty=isinstance(error, ScoringError)
        )
        self._traffic.record(self._route, variant, metrics)
        if variant == CHALLENGER:
            reason = type(error).__name__
            _log.warning("%s: the challenger failed (%s), the champion answers", self._experiment.name, reason)

    def _is_callers_mistake(self, error: Exception) -> bool:
        return error is self._charge.refusal or isinstance(error, InvalidRequestError | RateLimitedError)


def _check_finite(scores: ModelScores) -> None:
    if not all(math.isfinite(score.raw_score) for group in scores.result.scores for score in group):
        raise ScoringError("The model gave no usable score.")
