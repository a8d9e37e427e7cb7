from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest

from rerankd.engine.request import ScoreResult
from rerankd.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    RateLimitedError,
    ScoringError,
)
from rerankd.experiments.experiment import CHALLENGER, CHAMPION, INTERLEAVED, Experiment
from rerankd.experiments.guardrails import ExperimentPlan
from rerankd.experiments.router import Route
from rerankd.experiments.traffic import Traffic
from rerankd.pipeline.experiment import VariantScorer
from rerankd.pipeline.scores import ModelScores, OneTimeCharge
from rerankd.scoring.encoder import TruncationOptions
from rerankd.types import PairScore

ONE = Experiment("e", "canary", "mini", "other", coverage=0.5, id=1, plan=ExperimentPlan(patience=5.0))


class Models:
    """Scores at once, or fails as told."""

    def __init__(self, **failures: BaseException | None) -> None:
        self.failures, self.asked, self.cached, self.logit = failures, list[str](), 0, 1.0
        self.charge = OneTimeCharge(None)
        self.hang = False

    async def score(self, name: str) -> ModelScores:
        role = "challenger" if name == ONE.served_as else "champion"
        self.asked.append(role)
        await self.charge(5)
        if self.hang and role == "challenger":
            await asyncio.Event().wait()
        if (failure := self.failures.get(role)) is not None:
            raise failure
        logit = self.logit if role == "challenger" else 1.0
        scored = ScoreResult([[PairScore(logit, 5, False)]], 5, self.cached, {"total": 1.0})
        return ModelScores(name, f"v-{role}", TruncationOptions(64), scored)


def drained_counts(traffic: Traffic) -> dict[str, dict[str, float]]:
    counts: dict[str, dict[str, float]] = {}
    for (_, _, variant, metric), sums in traffic.counters.drain().sums.items():
        counts.setdefault(variant, {})[metric] = sums.total if metric != "latency" else math.nan
    return counts


async def scored(
    models: Models, traffic: Traffic, variant: str = CHALLENGER, one: Experiment = ONE, **more: bool
) -> ModelScores:
    return await VariantScorer(Route(one, variant, "u"), traffic, models.charge, **more).score("mini", models.score)


async def test_each_arm_is_its_model() -> None:
    for variant, role in ((CHAMPION, "champion"), (CHALLENGER, "challenger")):
        traffic, models = Traffic(), Models()
        result = await scored(models, traffic, variant)
        assert (result.model, result.version, result.experiment_label) == ("mini", f"v-{role}", f"e/{variant}")
        assert models.asked == [role]
        assert set(drained_counts(traffic)[variant]) == {"errors", "timeouts", "empty", "latency"}
        assert traffic.counts == {("e", variant): 1}


async def test_scores_from_a_cache_tell_no_time() -> None:
    traffic, models = Traffic(), Models()
    models.cached = 1
    await scored(models, traffic)
    assert "latency" not in drained_counts(traffic)[CHALLENGER]


@pytest.mark.parametrize(
    ("failure", "numbers"),
    [
        (RuntimeError("x"), {"errors": 1.0, "timeouts": 0.0, "empty": 0.0}),
        (OverloadedError("x"), {"errors": 1.0, "timeouts": 0.0, "empty": 0.0}),
        (InvalidRequestError("x"), {"errors": 1.0, "timeouts": 0.0, "empty": 0.0}),
        (ScoringError("x"), {"errors": 1.0, "timeouts": 0.0, "empty": 1.0}),
    ],
)
async def test_the_champion_answers_where_the_challenger_fails(failure: Exception, numbers: dict[str, float]) -> None:
    traffic, models = Traffic(), Models(challenger=failure)
    result = await scored(models, traffic)
    assert (result.version, result.experiment_label) == ("v-champion", "e/fallback")
    assert drained_counts(traffic) == {CHALLENGER: numbers}


async def test_a_score_that_is_no_number_is_none() -> None:
    traffic, models = Traffic(), Models()
    models.logit = math.nan
    assert (await scored(models, traffic)).variant == "fallback"
    assert drained_counts(traffic)[CHALLENGER]["empty"] == 1.0


async def test_a_challenger_that_hangs_is_not_waited_for() -> None:
    traffic, models = Traffic(), Models()
    models.hang = True
    result = await scored(models, traffic, one=replace(ONE, plan=ExperimentPlan(patience=0.01)))
    assert result.variant == "fallback"
    assert drained_counts(traffic) == {CHALLENGER: {"errors": 0.0, "timeouts": 1.0, "empty": 0.0}}


async def test_the_callers_own_mistakes_count_for_nobody() -> None:
    wrong = InvalidRequestError("x")
    traffic, models = Traffic(), Models(challenger=wrong, champion=wrong)
    with pytest.raises(InvalidRequestError):
        await scored(models, traffic)
    with pytest.raises(InvalidRequestError):
        await scored(models, traffic, CHAMPION)
    assert drained_counts(traffic) == {}


async def test_a_key_without_tokens_is_refused_once() -> None:
    async def refuse(_: int) -> None:
        raise RateLimitedError("x")

    traffic, models = Traffic(), Models()
    models.charge = OneTimeCharge(refuse)
    with pytest.raises(RateLimitedError):
        await scored(models, traffic)
    assert models.asked == ["challenger"]
    assert drained_counts(traffic) == {}


async def test_a_request_is_charged_once() -> None:
    charged: list[int] = []

    async def charge(tokens: int) -> None:
        charged.append(tokens)

    models = Models(challenger=RuntimeError("x"))
    models.charge = OneTimeCharge(charge)
    await scored(models, Traffic())
    assert (charged, models.asked) == ([5], ["challenger", "champion"])


async def test_failures_of_the_champion_count_against_it() -> None:
    traffic = Traffic()
    with pytest.raises(RuntimeError):
        await scored(Models(champion=RuntimeError("x")), traffic, CHAMPION)
    assert drained_counts(traffic)[CHAMPION]["errors"] == 1.0
    with pytest.raises(DeadlineExceededError):
        await scored(Models(champion=DeadlineExceededError("x")), traffic, CHAMPION)
    assert drained_counts(traffic)[CHAMPION] == {"errors": 0.0, "timeouts": 1.0, "empty": 0.0}


async def test_pieces_of_one_ranking_are_never_of_two_models() -> None:
    models = Models(challenger=RuntimeError("x"))
    with pytest.raises(RuntimeError):
        await scored(models, Traffic(), fallback=False)
    assert models.asked == ["challenger"]


async def test_interleaving_scores_on_both() -> None:
    traffic, models = Traffic(), Models()
    models.logit = 7.0
    result = await scored(models, traffic, INTERLEAVED)
    assert (result.version, result.variant) == ("v-champion", INTERLEAVED)
    assert result.challenger is not None
    assert result.challenger.scores[0][0].raw_score == 7.0
    assert set(drained_counts(traffic)) == {CHAMPION, CHALLENGER}
    failing = await scored(Models(challenger=RuntimeError("x")), traffic, INTERLEAVED)
    assert (failing.challenger, failing.variant) == (None, "fallback")
    assert drained_counts(traffic)[CHALLENGER]["errors"] == 1.0
    with pytest.raises(RuntimeError):
        await scored(Models(champion=RuntimeError("x"), challenger=ScoringError("y")), traffic, INTERLEAVED)
