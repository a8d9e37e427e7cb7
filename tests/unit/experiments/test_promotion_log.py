from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rerankd.experiments import promotion_log as module
from rerankd.experiments.experiment import Experiment, ExperimentState
from rerankd.experiments.guardrails import ExperimentPlan
from rerankd.experiments.history import ExperimentEvent
from rerankd.experiments.promotion_log import PromotionLog
from rerankd.experiments.store import ExperimentStore
from rerankd.traces.store import TraceStore

NEW = Experiment("e", "canary", "med", "registry:med@2", plan=ExperimentPlan(steps=(1.0,)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ExperimentStore]:
    made = ExperimentStore(TraceStore(f"sqlite:///{tmp_path}/traces.sqlite"))
    yield made
    made.close()


def moved(store: ExperimentStore, one: Experiment, state: ExperimentState, action: str = "promote") -> Experiment:
    updated = store.update(one, ExperimentEvent("e", action, "by hand", "ann", 1.0, {}), state=state)
    assert updated is not None
    return updated


def test_what_was_promoted_and_what_was_taken_back_after_it_was_told(store: ExperimentStore) -> None:
    one, log = store.start(NEW, "me"), PromotionLog(store)
    assert log.candidates() == []
    assert not log.claim(moved(store, one, "stopped"), "a", "now") or log.candidates() == []
    one = moved(store, store.start(NEW, "me"), "promoted")
    assert log.candidates() == [one]
    assert log.decision(one, "promote") == "by hand (ann)"
    assert log.decision(one, "roll_back") == ""
    assert log.claim(one, "a", "now")
    one = moved(store, one, "rolled_back", "roll_back")
    assert log.candidates() == [one]
    log.forget(one)
    assert log.candidates() == []


def test_one_instance_at_a_time(store: ExperimentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    one, log = moved(store, store.start(NEW, "me"), "promoted"), PromotionLog(store)
    won: list[str] = []

    def claim(instance: str) -> None:
        if log.claim(one, instance, "now"):
            won.append(instance)

    threads = [threading.Thread(target=claim, args=(instance,)) for instance in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    log.write(one, "waiting", "MLflow is away", won[0])
    assert not log.claim(one, "other", "now")
    monkeypatch.setattr(module, "CLAIM_SECONDS", -1.0)
    assert log.claim(one, "other", "now")  # the first one died
    monkeypatch.undo()
    log.write(one, "left", "it ends", "other")
    assert log.claim(one, "third", "now")
    log.write(one, "moved", "done", "third", after=2)
    last = log.last(one)
    assert last is not None
    assert (last.phase, last.reason, last.instance, last.data) == ("moved", "done", "third", {"after": 2})


def test_a_claim_needs_the_state_that_was_seen(store: ExperimentStore) -> None:
    one = moved(store, store.start(NEW, "me"), "promoted")
    moved(store, one, "stopped", "stop")
    assert not PromotionLog(store).claim(one, "a", "now")
    assert PromotionLog(store).last(one) is None
