"""A request's instruction, for models that read one and models that do not; in experiments and shadow traffic too."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from rerankd._common.instruction import IGNORED
from rerankd.engine.pool import ModelPool
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.router import RoutingTable
from rerankd.experiments.traffic import Traffic
from rerankd.models.template import PairTemplate
from rerankd.pipeline.pipeline import Pipeline
from rerankd.pipeline.shadow import ShadowQueue
from rerankd.ranking.requests import build_request
from rerankd.types import Document, RankingRecord, TruncationOverrides
from tests.faults import ScriptedBackend
from tests.instructions import ASKED, read_instructions
from tests.unit.jobs.scripted_worker import ScriptedLoader

REQUEST = build_request(
    "q", [Document("a"), Document("b")], truncation=TruncationOverrides(instruction=ASKED), request_id="r"
)


class Recorded:
    def __init__(self) -> None:
        self.records: list[RankingRecord] = []

    def record(self, ranking: RankingRecord) -> None:
        self.records.append(ranking)


@pytest.fixture
async def pool() -> AsyncIterator[ModelPool]:
    pool = ModelPool("mini", {"mini": "mini", "other": "mini"}, ScriptedLoader(ScriptedBackend()), close_seconds=1.0)
    async with pool.lease("mini"):
        pass
    yield pool
    await pool.close()


async def test_it_reaches_the_encoder_and_the_record(pool: ModelPool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, recorder = read_instructions(monkeypatch), Recorded()
    pipeline = Pipeline(pool, recorder)
    assert (await pipeline.run(REQUEST)).warnings == ()
    scores = await pipeline.score([("q", ["a"])], REQUEST)
    await pipeline.run(dataclasses.replace(REQUEST, truncation=TruncationOverrides()))
    assert seen[-3:] == [ASKED, ASKED, None]
    assert scores.warnings == ()
    assert [record.instruction for record in recorder.records] == [ASKED, None]


async def test_a_model_that_reads_none_warns_each_caller_and_the_log_once(
    pool: ModelPool, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorded()
    pipeline = Pipeline(pool, recorder)
    results = [await pipeline.run(REQUEST) for _ in range(2)]
    other = await pipeline.run(dataclasses.replace(REQUEST, model="other"))
    plain = await pipeline.run(dataclasses.replace(REQUEST, truncation=TruncationOverrides()))
    assert [result.warnings for result in (*results, other, plain)] == [(IGNORED,)] * 3 + [()]
    assert [record.message for record in caplog.records if IGNORED in record.message] == [
        f"mini: {IGNORED}",
        f"other: {IGNORED}",
    ]
    assert [record.instruction for record in recorder.records] == [None] * 4
    assert [ranked.raw_score for ranked in results[0]] == [ranked.raw_score for ranked in plain]
    assert (await pipeline.score([("q", ["a"])], REQUEST)).warnings == (IGNORED,)


async def test_shadow_traffic_reads_the_same_instruction(pool: ModelPool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, traffic = read_instructions(monkeypatch), Traffic()
    pipeline = Pipeline(pool, traffic=traffic)
    queue = ShadowQueue(pipeline.score_on, traffic)
    traffic.shadow = queue.offer
    experiment = Experiment("e", "shadow", "mini", "mini", coverage=1.0, id=1)
    await pool.add(experiment.served_as, "mini")
    traffic.routes = RoutingTable([experiment])
    del seen[:]
    async with asyncio.timeout(20):
        await pipeline.run(REQUEST)
        await queue.join()
    assert queue.counts["e", "compared"] == 1
    assert seen == [ASKED, ASKED]


async def test_a_challenger_that_reads_none_says_so(pool: ModelPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which model answers decides, and its name in the pool is no business of the caller."""
    seen, traffic = read_instructions(monkeypatch), Traffic()
    experiment = Experiment("e", "canary", "mini", "mini", coverage=1.0, id=1)
    await pool.add(experiment.served_as, "mini")
    challenger = pool.loaded[experiment.served_as]
    template = PairTemplate((0,), (2, 2), (2,))
    manifest = dataclasses.replace(challenger.files.manifest, template=template)
    challenger.files = dataclasses.replace(challenger.files, manifest=manifest)
    monkeypatch.setattr(PairTemplate, "takes_instruction", property(lambda self: self is not template))
    traffic.routes = RoutingTable([experiment])
    del seen[:]
    result = await Pipeline(pool, traffic=traffic).run(dataclasses.replace(REQUEST, user="u"))
    assert (result.model, result.experiment, result.warnings) == ("mini", "e/challenger", (IGNORED,))
    assert seen == [None]
