from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.feedback.case_store import flag_request
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.retention import DeletionCounts, RetentionPolicy, prune
from rerankd.feedback.size_limit import fair_share, usage_by_tenant
from rerankd.feedback.store import add_feedback, read_feedback
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import PendingTrace, build_trace
from tests.unit.traces.rankings import ranking

pytestmark = pytest.mark.slow

NOW = time.time()
TEXT = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(400))  # does not compress


def write(store: TraceStore, tenant: str, *names: str, at: float = NOW, documents: int = 3) -> None:
    def build(name: str, time_: float) -> PendingTrace:
        texts = [f"{name} {tenant} {place} {TEXT}" for place in range(documents)]
        return build_trace(ranking(f"{name}?", texts, request_id=name, tenant=tenant, at=time_))

    store.write([build(name, at + number) for number, name in enumerate(names)])


def flood(store: TraceStore, tenant: str, count: int, at: float, request: str = "") -> None:
    events = [
        FeedbackEvent(request or f"{'x' * 400}{number}", "click", document_id="y" * 500, tenant=tenant, time=at)
        for number in range(count)
    ]
    add_feedback(store, events)


def pruned(store: TraceStore, size: int) -> DeletionCounts:
    total, more = DeletionCounts(), True
    while more:
        deleted, more = prune(store, RetentionPolicy(0, size), now=NOW)
        total += deleted
    assert store.size() <= size
    return total


def ids(store: TraceStore, tenant: str) -> list[str]:
    return [trace.request_id for trace in store.list_traces(TraceFilter(tenant=tenant), limit=1000, order="oldest")]


@pytest.mark.parametrize("age", [0.0, 3600.0])
def test_feedback_without_a_ranking_goes_before_any_trace(store: TraceStore, age: float) -> None:
    write(store, "quiet", *(f"q{number}" for number in range(30)), at=NOW - 90_000)
    add_feedback(store, [FeedbackEvent("q3", "click", 0, tenant="quiet")])
    limit = store.size() + 200_000
    flood(store, "loud", 3000, NOW - age)
    assert pruned(store, limit) == DeletionCounts(feedback=3000)
    assert len(ids(store, "quiet")) == 30
    assert [entry.feedback.request_id for entry in read_feedback(store)] == ["q3"]


def test_a_flood_of_traces_costs_the_one_who_sends_it(store: TraceStore) -> None:
    write(store, "quiet", *(f"q{number}" for number in range(10)), at=NOW - 90_000)
    write(store, "loud", *(f"l{number}" for number in range(300)))
    pruned(store, store.size() // 2)
    assert ids(store, "quiet") == [f"q{number}" for number in range(10)]
    left = ids(store, "loud")
    assert 0 < len(left) < 200
    assert left == [f"l{number}" for number in range(300)][-len(left) :]  # the oldest of its own went


def test_a_flood_of_feedback_on_rankings_of_ones_own_costs_the_one_who_sends_it(store: TraceStore) -> None:
    write(store, "quiet", *(f"q{number}" for number in range(30)), at=NOW - 90_000)
    limit = store.size() + 400_000
    write(store, "loud", "mine")
    flood(store, "loud", 3000, NOW, request="mine")
    pruned(store, limit)
    assert (len(ids(store, "quiet")), ids(store, "loud")) == (30, [])


def test_many_large_documents_weigh_more_than_many_small_traces(store: TraceStore) -> None:
    write(store, "quiet", *(f"q{number}" for number in range(40)), documents=1)
    write(store, "large", *(f"l{number}" for number in range(10)), documents=60)
    pruned(store, store.size() * 2 // 3)
    assert len(ids(store, "quiet")) == 40
    assert len(ids(store, "large")) < 10


def test_two_that_take_too_much_come_to_the_same(store: TraceStore) -> None:
    write(store, "a", *(f"a{number}" for number in range(150)))
    write(store, "b", *(f"b{number}" for number in range(80)), at=NOW - 90_000)
    write(store, "c", "c0")
    pruned(store, store.size() // 2)
    counts = [len(ids(store, tenant)) for tenant in "abc"]
    assert counts[2] == 1
    assert abs(counts[0] - counts[1]) <= 2


def test_texts_that_others_use_stay(store: TraceStore) -> None:
    shared = [f"shared {TEXT}"]
    store.write([build_trace(ranking("q", shared, tenant="quiet", request_id="q0", at=NOW - 90_000))])
    store.write([build_trace(ranking("q", shared, tenant="loud", request_id="s", at=NOW - 10))])
    write(store, "loud", *(f"l{number}" for number in range(200)))
    pruned(store, store.size() // 2)
    full = store.find_trace("q0", "quiet")
    assert full is not None
    assert (full.query, full.texts) == ("q", tuple(shared))


def test_cases_count_for_the_share_of_their_tenant(store: TraceStore) -> None:
    write(store, "hoarder", *(f"h{number}" for number in range(20)))
    with store.connect() as connection:
        before = usage_by_tenant(connection)["hoarder"]
    for number in range(20):
        flag_request(store, f"h{number}", "hoarder")
    with store.connect() as connection:
        assert usage_by_tenant(connection)["hoarder"] > before + 20 * 1000


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 10_000), min_size=1, max_size=8), st.floats(0, 30_000))
def test_shares_fill_the_capacity_and_nobody_below_the_share_loses(usage: dict[str, int], capacity: float) -> None:
    share = fair_share(usage, capacity)
    kept = sum(min(size, share) for size in usage.values())
    assert kept <= capacity + 1e-6
    assert kept == pytest.approx(min(capacity, sum(usage.values())))
