from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from rerankd.database import tables
from rerankd.errors import NotFoundError
from rerankd.evaluation.saved import EvaluationPlan
from rerankd.evaluation.saved_store import KEPT, SILENT_SECONDS, EvaluationStore
from rerankd.feedback.retention import erase_tenant
from rerankd.traces.store import TraceStore

PLAN = EvaluationPlan("cases", "", ("mini", "other"), 50, 100)


@pytest.fixture
def traces(tmp_path: Path) -> Iterator[TraceStore]:
    opened = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def store(traces: TraceStore) -> EvaluationStore:
    return EvaluationStore(traces)


def finished(store: EvaluationStore, tenant: str | None = None) -> int:
    number = store.add(PLAN, tenant, "me")
    assert store.start(number, 10)
    assert store.finish(number, {"query_ids": ["q"]}, {"measure": "nDCG@10"}, [{"candidates": ["d"]}])
    return number


def test_an_evaluation_from_plan_to_results(store: EvaluationStore) -> None:
    number = store.add(PLAN, "acme", "team (1a2b)")
    waiting = store.get(number, "acme")
    assert (waiting.state, waiting.plan, waiting.author, waiting.is_final) == ("queued", PLAN, "team (1a2b)", False)
    with pytest.raises(NotFoundError, match="has no results"):
        store.result(number)
    assert store.start(number, 8)
    assert store.progress(number, 3)
    running = store.get(number, "acme")
    assert (running.state, running.done, running.total) == ("running", 3, 8)
    assert store.finish(number, {"query_ids": ["a", "b"]}, {"before": 0.5}, [{"candidates": ["d"]}, {"candidates": []}])
    done = store.get(number, None)
    assert (done.state, done.done, done.headline, done.is_final) == ("done", 8, {"before": 0.5}, True)
    assert store.result(number) == {"query_ids": ["a", "b"]}
    assert store.query(number, 1) == {"candidates": []}
    with pytest.raises(NotFoundError, match="no query 2"):
        store.query(number, 2)


def test_a_tenant_sees_its_own(store: EvaluationStore) -> None:
    mine, admins = finished(store, "acme"), finished(store)
    assert [each.id for each in store.list("acme")] == [mine]
    assert [each.id for each in store.list(None)] == [admins, mine]
    for number in (admins, 10**6, -1, 2**70):
        with pytest.raises(NotFoundError):
            store.get(number, "acme")
        with pytest.raises(NotFoundError):
            store.delete(number, "acme")
    store.delete(mine, "acme")
    assert [each.id for each in store.list(None)] == [admins]


def test_a_number_is_never_given_again(store: EvaluationStore) -> None:
    number = finished(store)
    store.delete(number, None)
    assert store.add(PLAN, None, "me") > number
    assert not store.progress(number, 1)


def test_what_was_ended_stays_ended(store: EvaluationStore) -> None:
    number = store.add(PLAN, None, "me")
    assert store.end(number, "cancelled")
    assert not store.start(number, 3)
    assert not store.progress(number, 1)
    assert not store.finish(number, {}, {}, [])
    assert not store.end(number, "failed", "too late")
    assert store.get(number, None).state == "cancelled"


def test_without_a_sign_of_life_it_was_interrupted(store: EvaluationStore, traces: TraceStore) -> None:
    dead, alive = store.add(PLAN, None, "me"), store.add(PLAN, None, "me")
    assert store.start(dead, 10)
    with traces.begin() as connection:
        connection.execute(update(tables.evaluation).values(changed=time.time() - SILENT_SECONDS - 1))
    store.keep_alive([alive])
    assert {each.id: each.state for each in store.list(None)} == {dead: "interrupted", alive: "queued"}
    assert not store.progress(dead, 5)


def test_a_number_of_them_is_kept(store: EvaluationStore, traces: TraceStore) -> None:
    others = finished(store, "other")
    numbers = [finished(store, "acme") for _ in range(KEPT + 2)]
    kept = [each.id for each in store.list("acme", 1000)]
    assert kept == numbers[-KEPT:][::-1]
    with pytest.raises(NotFoundError):
        store.query(numbers[0], 0)
    assert store.get(others, None).state == "done"


def test_erasing_a_tenant_erases_its_evaluations(store: EvaluationStore, traces: TraceStore) -> None:
    finished(store, "acme")
    admins = finished(store)
    erase_tenant(traces, "acme")
    assert [each.id for each in store.list(None)] == [admins]
