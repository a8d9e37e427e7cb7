"""Saved evaluations on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import pytest

from rerankd.errors import NotFoundError
from rerankd.evaluation.saved import EvaluationPlan
from rerankd.evaluation.saved_store import KEPT, EvaluationStore
from rerankd.feedback.retention import erase_tenant
from rerankd.traces.store import TraceStore

PLAN = EvaluationPlan("cases", "", ("mini",), 50, 100)


def test_evaluations_in_either_database(url: str) -> None:
    traces = TraceStore(url)
    store = EvaluationStore(traces)
    numbers = [store.add(PLAN, "acme", "me") for _ in range(2)]
    admins = store.add(PLAN, None, "ops")
    for number in (*numbers, admins):
        assert store.start(number, 3)
        assert store.progress(number, 2)
        assert store.finish(number, {"query_ids": ["q"]}, {"measure": "RR"}, [{"candidates": []}] * 1200)
        assert not store.progress(number, 3)
    assert [each.id for each in store.list("acme")] == numbers[::-1]
    assert store.get(numbers[0], "acme").done == 3
    assert store.query(numbers[0], 1199) == {"candidates": []}
    with pytest.raises(NotFoundError):
        store.get(admins, "acme")
    for _ in range(KEPT):
        assert store.end(store.add(PLAN, "acme", "me"), "cancelled")
    kept = [each.id for each in store.list("acme", 1000)]
    assert len(kept) == KEPT
    assert numbers[1] not in kept
    erase_tenant(traces, "acme")
    assert [each.id for each in store.list(None)] == [admins]
    traces.close()
