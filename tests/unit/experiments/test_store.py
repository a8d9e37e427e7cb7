from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rerankd.errors import ConflictError, InvalidRequestError, NotFoundError
from rerankd.experiments import store as module
from rerankd.experiments.counters import Counters
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.guardrails import ExperimentPlan
from rerankd.experiments.history import ExperimentEvent
from rerankd.experiments.sequential_tests import Sums
from rerankd.experiments.store import ExperimentStore
from rerankd.traces.store import TraceStore

NEW = Experiment("new", "canary", "mini", "org/name", plan=ExperimentPlan(steps=(0.1, 1.0)))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/traces.sqlite"


@pytest.fixture
def store(url: str) -> Iterator[ExperimentStore]:
    made = ExperimentStore(TraceStore(url))
    yield made
    made.close()


def event(action: str = "stop") -> ExperimentEvent:
    return ExperimentEvent(
        "new", action, "why", "test", 0.0, {"bounds": {"errors": {"low": float("-inf"), "high": 0.5}}}
    )


def test_what_is_started_comes_back(store: ExperimentStore) -> None:
    one = store.start(NEW, "me")
    assert store.active() == [one] == store.recent() == [store.get("new")]
    assert (one.coverage, one.step, one.state, one.revision, len(one.seed)) == (0.1, 0, "running", 1, 16)
    assert [(stored.action, stored.author, stored.coverage) for stored in store.events()] == [("start", "me", 0.1)]
    with pytest.raises(NotFoundError, match="rollout status"):
        store.get("other")


def test_two_do_not_answer_for_one_model(store: ExperimentStore) -> None:
    one = store.start(NEW, "me")
    for second in (replace(NEW, name="second"), replace(NEW, model="other")):
        with pytest.raises(ConflictError, match="rollout stop"):
            store.start(second, "me")
    store.start(replace(NEW, name="looks-on", kind="shadow"), "me")
    assert store.update(one, event(), state="promoted") is not None
    with pytest.raises(ConflictError):
        store.start(replace(NEW, name="second"), "me")
    assert store.update(store.get("new"), event(), state="stopped") is not None
    again = store.start(NEW, "me")
    assert store.get("new") == again != one
    with pytest.raises(InvalidRequestError):
        store.start(replace(NEW, name="NO"), "me")


def test_there_is_a_limit(store: ExperimentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ACTIVE", 2)
    for number in range(2):
        store.start(replace(NEW, name=f"e{number}", kind="shadow"), "me")
    with pytest.raises(ConflictError, match="2 experiments are active"):
        store.start(NEW, "me")


def test_of_several_only_one_changes(store: ExperimentStore, url: str) -> None:
    one = store.start(NEW, "me")
    stores = [ExperimentStore(TraceStore(url)) for _ in range(4)]
    won: list[Experiment | None] = []

    def work(instance: ExperimentStore) -> None:
        won.append(instance.update(one, event("advance"), coverage=1.0, step=1))

    threads = [threading.Thread(target=work, args=(instance,)) for instance in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
        stores.pop().close()
    assert len([new for new in won if new is not None]) == 1
    assert store.get("new").revision == 2
    assert store.get("new").stepped > one.stepped
    assert [recorded.action for recorded in store.events("new")] == ["advance", "start"]
    assert store.events()[0].data == {"bounds": {"errors": {"low": None, "high": 0.5}}}


def test_instances_add_up(store: ExperimentStore) -> None:
    one = store.start(NEW, "me")
    for _ in range(3):
        counters = Counters()
        counters.add(one.id, 0, "challenger", {"errors": 1.0, "latency": 2.0}, "u1")
        counters.add(one.id, 0, "champion", {"errors": 0.0}, "u2")
        store.add_counts(counters.drain())
    store.add_counts(counters.drain())
    sums = store.sums(one)
    assert sums[0, "challenger", "errors"] == Sums(3, 3.0, 3.0)
    assert sums[0, "challenger", "latency"] == Sums(3, 6.0, 12.0)
    assert sums[0, "champion", "errors"] == Sums(3, 0.0, 0.0)
    assert store.units(one) == {"challenger": 1, "champion": 1}
    assert store.units(replace(one, step=1)) == {}
    assert store.update(one, event(), state="stopped") is not None
    assert store.units(one) == {}  # nobody is remembered


def test_units_are_bounded(store: ExperimentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNITS", 10)
    one, counters = store.start(NEW, "me"), Counters()
    for start in (0, 8):
        for number in range(start, start + 8):
            counters.add(one.id, 0, "champion", {}, f"u{number}")
        store.add_counts(counters.drain())
    assert store.units(one) == {"champion": 8}


def test_an_ended_experiment_frees_its_name_and_its_model(store: ExperimentStore) -> None:
    started = store.start(NEW, "me")
    promoted = store.update(started, event("promote"), state="promoted", coverage=1.0)
    assert promoted is not None
    assert not store.end(started, event("end"))  # it was changed since it was read
    assert store.end(promoted, event("end"))
    assert store.active() == []
    assert store.get("new").state == "promoted"
    assert [entry.action for entry in store.events("new")] == ["end", "promote", "start"]
    assert store.start(NEW, "me").state == "running"


def test_the_clock_dates_what_is_written(url: str) -> None:
    moments = iter(range(100, 200, 10))
    store = ExperimentStore(TraceStore(url), lambda: float(next(moments)))
    started = store.start(NEW, "me")
    updated = store.update(started, event("advance"), step=1, coverage=1.0)
    assert updated is not None
    assert store.end(updated, event("end"))
    assert (started.created, updated.changed, updated.stepped) == (100.0, 110.0, 110.0)
    assert [each.time for each in store.events("new")] == [120.0, 110.0, 100.0]
    store.close()
