from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from rerankd._common.backoff import Backoff
from rerankd.engine.pool import ModelPool
from rerankd.errors import UnavailableError
from rerankd.experiments.experiment import Experiment, ExperimentState
from rerankd.experiments.guardrails import ExperimentPlan
from rerankd.experiments.history import ExperimentEvent
from rerankd.experiments.promotion_log import PromotionLog, Record
from rerankd.experiments.store import ExperimentStore
from rerankd.models.reference import parse_reference
from rerankd.registry import promotion_sync as module
from rerankd.registry.alias_follower import AliasFollower
from rerankd.registry.promotion_sync import PromotionSync
from rerankd.registry.registry import Registry
from rerankd.registry.version import ModelVersion
from rerankd.traces.store import TraceStore
from tests.registered import fresh_name, gate_record

pytestmark = pytest.mark.slow


@pytest.fixture
def experiments(tmp_path: Path) -> Iterator[ExperimentStore]:
    made = ExperimentStore(TraceStore(f"sqlite:///{tmp_path}/traces.sqlite"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def gates(models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("gates")
    return [gate_record(model, folder / f"{n}.json", passed=n < 2) for n, model in enumerate(models)]


@pytest.fixture
def name(registry: Registry, models: list[Path], gates: list[Path]) -> str:
    """Return a model whose first version is champion; the third was refused by its gate."""
    made = fresh_name()
    for model, gate in zip(models, gates, strict=True):
        registry.register(model, made, gate=gate)
    registry.promote(made, 1, "first")
    return made


class Instance:
    """Server of a model from an alias and of the challenger of one experiment."""

    def __init__(self, registry: Registry, experiments: ExperimentStore, name: str, version: int, who: str = "a"):
        self.registry, self.experiments, self.decided = registry, experiments, list[str]()
        self.follower: Any = SimpleNamespace(
            registry=registry,
            seconds=1e6,
            followed={"med": SimpleNamespace(reference=parse_reference(f"registry:{name}"))},
        )
        folder = Path(registry.cache.root, registry.resolve(name, version).content)
        self.pool: Any = SimpleNamespace(loaded={"med~e": SimpleNamespace(files=SimpleNamespace(folder=folder))})
        arguments = (cast(AliasFollower, self.follower), cast(ModelPool, self.pool), who, self.decided.append)
        self.promotions = PromotionSync(*arguments)

    def poll(self) -> None:
        self.promotions.poll(self.experiments)
        if self.promotions._worker is not None:
            self.promotions._worker.join(30)


def promoted(experiments: ExperimentStore, challenger: str) -> Experiment:
    one = experiments.start(Experiment("e", "canary", "med", challenger, plan=ExperimentPlan(steps=(1.0,))), "me")
    return changed(experiments, one, "promoted", "promote")


def changed(experiments: ExperimentStore, one: Experiment, state: ExperimentState, action: str) -> Experiment:
    updated = experiments.update(one, ExperimentEvent("e", action, "errors fell", "ann", 1.0, {}), state=state)
    assert updated is not None
    return updated


def last(experiments: ExperimentStore, one: Experiment) -> Record:
    record = PromotionLog(experiments).last(one)
    assert record is not None
    return record


def champion(registry: Registry, name: str) -> int:
    return registry.resolve(name).version


def test_the_alias_moves_with_a_promotion_and_back(registry: Registry, experiments: ExperimentStore, name: str) -> None:
    instance = Instance(registry, experiments, name, 2)
    one = promoted(experiments, f"registry:{name}@2")
    for _ in range(2):
        instance.poll()
    assert (champion(registry, name), registry.resolve(name, "previous").version) == (2, 1)
    assert registry.history(name).moves[0].reason == f"experiment e #{one.id}: errors fell (ann)"
    record = last(experiments, one)
    assert (record.phase, record.data) == ("moved", {"name": name, "before": 1, "after": 2})
    one = changed(experiments, one, "rolled_back", "roll_back")
    for _ in range(2):
        instance.poll()
    assert (champion(registry, name), last(experiments, one).phase) == (1, "moved_back")
    assert registry.history(name).moves[0].action == "rollback"
    assert registry.history(name).moves[0].reason == f"experiment e #{one.id}: errors fell (ann)"
    assert instance.decided == ["registry_moved", "registry_moved_back"]
    actions = [event.action for event in experiments.events("e")]
    assert actions == ["registry", "registry", "roll_back", "registry", "registry", "promote", "start"]


def test_an_end_that_keeps_the_promotion(registry: Registry, experiments: ExperimentStore, name: str) -> None:
    instance = Instance(registry, experiments, name, 2)
    one = promoted(experiments, f"registry:{name}@2")
    instance.poll()
    changed(experiments, one, "stopped", "stop")
    instance.poll()
    assert (champion(registry, name), instance.decided) == (2, ["registry_moved"])


def test_what_the_registry_refuses_is_said_and_left(
    registry: Registry, experiments: ExperimentStore, name: str
) -> None:
    instance = Instance(registry, experiments, name, 3)
    one = promoted(experiments, f"registry:{name}@3")
    for _ in range(2):
        instance.poll()
    record = last(experiments, one)
    assert record.phase == "refused"
    assert record.reason.startswith(f"the registry keeps its champion: The gate refused {name} 3.")
    assert (champion(registry, name), experiments.get("e").state) == (1, "promoted")
    changed(experiments, one, "rolled_back", "roll_back")
    instance.poll()
    assert (champion(registry, name), instance.decided) == (1, ["registry_refused"])
    assert PromotionLog(experiments).candidates() == []
    assert instance.promotions.details == ""


def test_broken_files_are_refused(registry: Registry, experiments: ExperimentStore, name: str) -> None:
    source = urlsplit(registry.store.version(name, 2).source).path
    shutil.rmtree(source)
    one = promoted(experiments, f"registry:{name}@2")
    Instance(registry, experiments, name, 2).poll()
    assert (last(experiments, one).phase, champion(registry, name)) == ("refused", 1)
    assert "is missing" in last(experiments, one).reason


def test_an_alias_that_means_another_version_by_now(
    registry: Registry, experiments: ExperimentStore, name: str
) -> None:
    instance = Instance(registry, experiments, name, 2)
    registry.store.set_alias(name, "challenger", 3)
    one = promoted(experiments, f"registry:{name}@challenger")
    instance.poll()
    assert last(experiments, one).phase == "refused"
    assert "the experiment served another version" in last(experiments, one).reason


def test_a_champion_that_was_moved_since_stays(registry: Registry, experiments: ExperimentStore, name: str) -> None:
    instance = Instance(registry, experiments, name, 2)
    one = promoted(experiments, f"registry:{name}@2")
    instance.poll()
    registry.promote(name, 3, "a person", force=True)
    one = changed(experiments, one, "rolled_back", "roll_back")
    instance.poll()
    assert (champion(registry, name), last(experiments, one).phase) == (3, "not_moved_back")


def test_what_a_person_promoted_is_not_taken_back(registry: Registry, experiments: ExperimentStore, name: str) -> None:
    instance = Instance(registry, experiments, name, 2)
    registry.promote(name, 2, "a person")
    one = promoted(experiments, f"registry:{name}@2")
    instance.poll()
    assert last(experiments, one).reason.endswith("already")
    one = changed(experiments, one, "rolled_back", "roll_back")
    instance.poll()
    assert (champion(registry, name), last(experiments, one).phase) == (2, "not_moved_back")


def test_while_mlflow_is_away_it_is_tried_again(
    registry: Registry, experiments: ExperimentStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY", Backoff(attempts=None, first=0.0))
    instance, other = (Instance(registry, experiments, name, 2, who) for who in "ab")
    one = promoted(experiments, f"registry:{name}@2")
    with monkeypatch.context() as away:
        away.setattr(registry, "resolve", lambda *_: (_ for _ in ()).throw(UnavailableError("It is away.")))
        for _ in range(3):
            instance.poll()
            other.poll()
    assert last(experiments, one).phase == "waiting"
    assert instance.promotions.details == "the registry does not know yet that e is promoted: It is away."
    assert (other.promotions.details, len(experiments.events("e"))) == ("", 4)
    instance.promotions.release(experiments)
    assert last(experiments, one).phase == "left"
    other.poll()
    assert (champion(registry, name), last(experiments, one).phase) == (2, "moved")
    instance.poll()
    assert instance.promotions.details == ""


def test_what_a_dead_instance_did_is_known_by_the_registry(
    registry: Registry, experiments: ExperimentStore, name: str
) -> None:
    """It had moved the alias and could not write that down; then the promotion was taken back."""
    one = promoted(experiments, f"registry:{name}@2")
    dead, other = (Instance(registry, experiments, name, 2, who) for who in "ab")
    log = PromotionLog(experiments)
    assert log.claim(one, "a", "now")
    dead.promotions._promote(log, one)
    one = changed(experiments, one, "rolled_back", "roll_back")
    other.poll()
    assert champion(registry, name) == 2  # the dead one may live
    Instance(registry, experiments, name, 2, "a").poll()  # it was started again
    assert (champion(registry, name), last(experiments, one).phase) == (1, "moved_back")


@pytest.mark.parametrize("challenger", ["mini", "registry:another@2"])
def test_other_challengers_are_no_business_of_the_registry(
    registry: Registry, experiments: ExperimentStore, name: str, challenger: str
) -> None:
    one = promoted(experiments, challenger)
    Instance(registry, experiments, name, 2).poll()
    assert PromotionLog(experiments).last(one) is None


def test_nobody_waits_for_mlflow(
    registry: Registry, experiments: ExperimentStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance, resolve = Instance(registry, experiments, name, 2), registry.resolve
    is_called, go_on = threading.Event(), threading.Event()

    def slow(*arguments: str) -> ModelVersion:
        is_called.set()
        go_on.wait(30)
        return resolve(*arguments)

    monkeypatch.setattr(registry, "resolve", slow)
    one = promoted(experiments, f"registry:{name}@2")
    for _ in range(3):
        instance.promotions.poll(experiments)
    assert is_called.wait(30)
    assert last(experiments, one).phase == "begun"
    go_on.set()
    instance.poll()
    assert last(experiments, one).phase == "moved"


def test_the_experiment_ends_once_all_instances_follow_the_alias(
    registry: Registry, experiments: ExperimentStore, name: str
) -> None:
    instance = Instance(registry, experiments, name, 2)
    one = promoted(experiments, f"registry:{name}@2")
    for _ in range(2):
        instance.poll()
    assert experiments.active() == [one]  # until the followers of all instances serve the version
    instance.follower.seconds = 0.0
    instance.poll()
    assert (experiments.active(), experiments.get("e").state) == ([], "promoted")
    assert experiments.events("e")[0].action == "end"
    assert PromotionLog(experiments).candidates() == []
    assert champion(registry, name) == 2
    changed(experiments, experiments.get("e"), "rolled_back", "roll_back")  # a person takes it back afterwards
    instance.poll()
    assert champion(registry, name) == 1
