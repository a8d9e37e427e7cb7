from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rerankd.engine.pool import ModelPool
from rerankd.errors import UnavailableError
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.guardrails import ExperimentPlan
from rerankd.experiments.history import ExperimentEvent
from rerankd.experiments.store import ExperimentStore
from rerankd.experiments.sync import ExperimentSync
from rerankd.experiments.traffic import Traffic, request_metrics
from rerankd.traces.store import TraceStore
from rerankd.types import RerankRequest
from tests.unit.engine.test_pool import FakeLoader

NEW = Experiment("e", "canary", "a", "good", plan=ExperimentPlan(steps=(1.0,)))
REQUEST = RerankRequest("q", [], user="u")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/traces.sqlite"


@pytest.fixture
def store(url: str) -> Iterator[ExperimentStore]:
    made = ExperimentStore(TraceStore(url))
    yield made
    made.close()


class Instance:
    """A pool and its experiments; looks when it is told to."""

    def __init__(self, url: str, *, promoted_only: bool = False) -> None:
        self.url, self.away = url, False
        self.loader, self.traffic, self.decisions = FakeLoader(), Traffic(), list[str]()
        self.pool = ModelPool("a", {"a": "ref-a", "b": "ref-b"}, self.loader)
        args = ("test", self.decisions.append)
        self.live = ExperimentSync(self.open, self.pool, self.traffic, 3600.0, *args, promoted_only=promoted_only)

    def open(self) -> ExperimentStore:
        if self.away:
            raise UnavailableError("The database is away.")
        return ExperimentStore(TraceStore(self.url))

    async def poll(self) -> None:
        await asyncio.to_thread(self.live.poll)
        await self.live.wait_ready()

    async def __aenter__(self) -> Instance:
        self.live.start()
        await self.live.wait_ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.live.close()
        await self.pool.close()

    @property
    def variant(self) -> str | None:
        route = self.traffic.route("a", REQUEST)
        return route.variant if route else None


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_challenger_is_loaded_before_requests_go_to_it(url: str, store: ExperimentStore) -> None:
    async with Instance(url) as instance:
        one = store.start(NEW, "me")
        assert (instance.variant, instance.loader.opened) == (None, [])
        await instance.poll()
        assert (instance.variant, instance.loader.opened) == ("challenger", ["good"])
        assert instance.pool.names == ["a", "b"]
        assert instance.pool.resolve("good") == instance.pool.resolve("a~e") == "a"
        assert store.update(one, ExperimentEvent("e", "stop", "", "me", 0.0, {}), state="stopped") is not None
        await instance.poll()
        await until(lambda: not instance.pool.unlisted)
        assert (instance.variant, list(instance.pool.loaded)) == (None, [])


async def test_what_cannot_be_loaded_is_refused_for_all(url: str, store: ExperimentStore) -> None:
    async with Instance(url) as instance:
        store.start(Experiment("e", "canary", "a", "bad"), "me")
        await instance.poll()
        await until(lambda: store.get("e").state == "stopped" and instance.decisions)
        assert (instance.variant, instance.decisions) == (None, ["refuse"])
        assert store.events("e")[0].reason == "The challenger cannot be loaded: Nothing there."
        await instance.poll()
        assert instance.live.details == ""


async def test_other_instances_models_are_left_alone(url: str, store: ExperimentStore) -> None:
    async with Instance(url) as instance:
        store.start(Experiment("e", "canary", "elsewhere", "bad"), "me")
        await instance.poll()
        assert instance.loader.opened == []
        assert store.get("e").state == "running"


async def test_without_the_database_what_was_known_stays(url: str, store: ExperimentStore) -> None:
    async with Instance(url) as instance:
        one = store.start(NEW, "me")
        await instance.poll()
        route = instance.traffic.route("a", REQUEST)
        assert route is not None
        instance.live._store, instance.away = None, True
        instance.traffic.record(route, "challenger", request_metrics(one))
        await instance.poll()
        assert (instance.live.stale, instance.variant) == (True, "challenger")
        assert re.search(r"was not reached for \d+ s", instance.live.details)
        instance.away = False
        await instance.poll()
        assert (instance.live.stale, instance.live.details) == (False, "")
        assert store.sums(one)[0, "challenger", "errors"].count == 1
        assert store.units(one) == {"challenger": 1}


async def test_what_was_counted_last_is_told_at_the_end(url: str, store: ExperimentStore) -> None:
    one = store.start(NEW, "me")
    async with Instance(url) as instance:
        route = instance.traffic.route("a", REQUEST)
        assert route is not None
        instance.traffic.record(route, "challenger", request_metrics(one))
    assert store.sums(one)[0, "challenger", "errors"].count == 1


async def test_a_start_without_the_database(url: str) -> None:
    instance = Instance(url)
    instance.away = True
    async with instance:
        assert instance.variant is None
        assert "since the start" in instance.live.details


async def test_a_decision_is_in_force_at_once_where_it_is_made(url: str, store: ExperimentStore) -> None:
    async with Instance(url) as instance:
        one = store.start(NEW, "me")
        await instance.poll()
        route = instance.traffic.route("a", REQUEST)
        assert route is not None
        for number in range(200):
            instance.traffic.record(
                route, "challenger" if number % 2 else "champion", request_metrics(one, errors=number % 2 == 1)
            )
        await instance.poll()
        assert (instance.variant, instance.decisions) == (None, ["roll_back"])


async def test_a_worker_follows_promotions_alone(url: str, store: ExperimentStore) -> None:
    async with Instance(url, promoted_only=True) as instance:
        one = store.start(NEW, "me")
        await instance.poll()
        assert (instance.variant, instance.loader.opened) == (None, [])
        assert store.update(one, ExperimentEvent("e", "promote", "", "me", 1.0, {}), state="promoted") is not None
        await instance.poll()
        route = instance.traffic.route("a", RerankRequest("q", [], source="job"))
        assert route is not None
        assert route.variant == "challenger"
