from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

import pytest

from rerankd.engine.request import ScoreResult
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.guardrails import ExperimentPlan
from rerankd.experiments.router import Route
from rerankd.experiments.traffic import AnsweredRanking, QueryTexts, Traffic
from rerankd.pipeline import shadow as module
from rerankd.pipeline.scores import ModelScores
from rerankd.pipeline.shadow import ShadowQueue, agreement_metrics
from rerankd.scoring.encoder import TruncationOptions
from rerankd.types import PairScore, RerankRequest

ONE = Experiment("e", "shadow", "mini", "other", coverage=1.0, id=1, plan=ExperimentPlan(patience=5.0))
ROUTES = [Route(ONE, "challenger")]
ANSWERED = AnsweredRanking(RerankRequest("q", [], timeout=1.0), "mini", [("q", ["a", "b", "c"])], [3.0, 2.0, 1.0], 10.0)


class Challenger:
    def __init__(self) -> None:
        self.events: list[str] = []
        self.requests: list[RerankRequest] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.logits = [1.0, 2.0, 3.0]

    async def score_on(self, name: str, groups: Sequence[QueryTexts], request: RerankRequest) -> ModelScores:
        self.events.append(f"scored on {name}")
        self.requests.append(request)
        await self.gate.wait()
        scored = ScoreResult([[PairScore(logit, 5, False) for logit in self.logits]], 15, 0, {"total": 20.0})
        return ModelScores(name, "v2", TruncationOptions(64), scored)


async def test_nothing_is_scored_before_the_answer_is_sent() -> None:
    challenger, traffic, deferred = Challenger(), Traffic(), list[Callable[[], None]]()
    queue = ShadowQueue(challenger.score_on, traffic, deferred.append)
    queue.offer(ANSWERED, ROUTES)
    await asyncio.sleep(0)
    challenger.events.append("answered")
    deferred.pop()()
    await queue.join()
    assert challenger.events == ["answered", "scored on mini~e"]
    assert (challenger.requests[0].background, challenger.requests[0].timeout) == (True, None)
    sums = traffic.counters.drain().sums
    assert sums[1, 0, "challenger", "tau"].mean == -1.0
    assert sums[1, 0, "challenger", "top1"].mean == 0.0
    assert sums[1, 0, "challenger", "latency"].mean == pytest.approx(math.log(2))
    assert queue.counts == {("e", "compared"): 1}


async def test_what_does_not_fit_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    challenger, traffic = Challenger(), Traffic()
    challenger.gate.clear()
    queue = ShadowQueue(challenger.score_on, traffic)
    for _ in range(5):
        queue.offer(ANSWERED, ROUTES)
    assert queue.counts == {("e", "dropped"): 3}
    challenger.gate.set()
    await queue.join()
    assert queue.counts["e", "compared"] == 2
    monkeypatch.setattr(module, "MAX_CHARACTERS", 3)
    queue.offer(ANSWERED, ROUTES)
    assert queue.counts["e", "dropped"] == 4


async def test_a_failure_is_a_finding() -> None:
    challenger, traffic = Challenger(), Traffic()
    queue = ShadowQueue(challenger.score_on, traffic)
    for logits in ([math.nan, 1.0, 2.0], [1.0, 2.0, 3.0]):
        challenger.logits = logits
        queue.offer(ANSWERED, ROUTES)
        await queue.join()
    assert traffic.counters.drain().sums[1, 0, "challenger", "errors"].mean == 0.5
    assert queue.counts == {("e", "failed"): 1, ("e", "compared"): 1}
    challenger.gate.clear()
    queue.offer(ANSWERED, ROUTES)
    await asyncio.sleep(0)
    await queue.close()


def test_a_single_document_has_no_tau() -> None:
    assert agreement_metrics([1.0], [5.0]) == {"errors": 0.0, "top1": 1.0, "rbo": 1.0}
