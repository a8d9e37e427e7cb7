"""Priorities: what they change, what they may not change, and the bound of the least urgent."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankd.engine.scheduler import QUANTUM, QueuedSequence, Scheduler
from tests.unit.engine.test_scheduler import ARRIVALS, BUDGET, drained

# Of the scheduler before there were priorities, in 25 scenarios for each way to set it up.
ORDER = {
    (True, 1.0): "89dd29044df237a195fe33464f7859970d5aed239a3e629e03ee3763ed6f8977",
    (True, 2.0): "261983d093579e9e2c719be4b4798d1d704dcddcc59ce72c6ca2bd5f9412ccda",
    (False, 1.0): "ad3660b205ad6fa4ca17309a8a95d5ec0605973f2d236b0505f4d2991cb99116",
}


def scenario(seed: int, *, fair: bool, window: float, priority: int | None = None, steps: int = 60) -> list[object]:
    """Return the sequences of each batch while requests of four tenants come and some of them go."""
    draw = random.Random(seed)
    scheduler = Scheduler(window_batches=window, fair=fair)
    batches: list[object] = []
    requests: list[int] = []
    step = 0
    while step < steps or scheduler:
        if step < steps and draw.random() < 0.6:
            lengths = [draw.randint(1, 600) for _ in range(draw.randint(1, 30))]
            tenant = draw.choice("abcd")
            sequences = [QueuedSequence(length, (step, position)) for position, length in enumerate(lengths)]
            if priority is None:
                scheduler.add(step, tenant, sequences)
            else:
                scheduler.add(step, tenant, sequences, priority=priority)
            requests.append(step)
        if requests and draw.random() < 0.05:
            scheduler.remove(requests.pop(draw.randrange(len(requests))))
        budget = draw.choice([300, 1000, 2500])
        batches.append([sequence.payload for sequence in scheduler.next_batch(budget)])
        step += 1
    return batches


@pytest.mark.parametrize(("fair", "window"), list(ORDER))
def test_without_priorities_the_order_is_that_of_before(fair: bool, window: float) -> None:
    batches = [scenario(seed, fair=fair, window=window) for seed in range(25)]
    assert hashlib.sha256(repr(batches).encode()).hexdigest() == ORDER[fair, window]


@settings(max_examples=15)
@given(st.integers(0, 999), st.integers(0, 10**6), st.booleans())
def test_requests_of_one_priority_are_served_as_without(priority: int, seed: int, fair: bool) -> None:
    assert scenario(seed, fair=fair, window=1.0, priority=priority, steps=20) == scenario(
        seed, fair=fair, window=1.0, steps=20
    )


@settings(max_examples=50)
@given(ARRIVALS, BUDGET, st.booleans(), st.lists(st.integers(0, 999), min_size=8, max_size=8))
def test_the_least_urgent_is_done_at_half_speed_whatever_more_urgent_comes(
    arrivals: list[tuple[str, list[int]]], budget: int, fair: bool, priorities: list[int]
) -> None:
    """An endless stream of priority 0 arrives before every batch; the last request, of 999, is bounded all the same.

    The bound: twice the tokens that were there when it came, its own included, and two batches more.
    """
    scheduler, first = Scheduler(fair=fair), set[tuple[int, int]]()
    total = 0
    for request, (tenant, lengths) in enumerate(arrivals):
        priority = 999 if request == len(arrivals) - 1 else priorities[request]
        sequences = [QueuedSequence(length, (request, position)) for position, length in enumerate(lengths)]
        scheduler.add(request, tenant, sequences, priority=priority)
        first |= {sequence.payload for sequence in sequences}
        total += sum(lengths)
    last = {payload for payload in first if payload[0] == len(arrivals) - 1}
    spent, turn = 0, 0
    while last:
        newcomers = [QueuedSequence(40, (-1 - turn, position)) for position in range(60)]
        scheduler.add(("late", turn), f"late {turn % 5}", newcomers, priority=0)
        turn += 1
        batch = scheduler.next_batch(budget)
        spent += min(budget, sum(sequence.length for sequence in batch))
        last -= {sequence.payload for sequence in batch}
    assert spent <= 2 * total + 2 * budget + 600 * len(arrivals)


@settings(max_examples=40)
@given(st.integers(1, 12), st.integers(20, 200), st.integers(300, 2000), st.booleans())
def test_the_urgent_have_half_of_the_work_however_many_others_there_are(
    crowd: int, length: int, budget: int, fair: bool
) -> None:
    scheduler = Scheduler(fair=fair)
    for number in range(crowd):
        scheduler.add(number, f"tenant {number}", [QueuedSequence(length, "crowd") for _ in range(500)], priority=500)
    before = 0
    while before < 2 * crowd * (QUANTUM + length) + budget:  # until the crowd has had its own first turns
        before += sum(sequence.length for sequence in scheduler.next_batch(budget))
    urgent = [QueuedSequence(length, "urgent") for _ in range(40)]
    scheduler.add("urgent", "tenant 0", urgent, priority=3)
    spent, left = 0, len(urgent)
    while left:
        batch = scheduler.next_batch(budget)
        spent += sum(sequence.length for sequence in batch)
        left -= sum(sequence.payload == "urgent" for sequence in batch)
    # Half of the work is the urgent request's, and two batches may have been drawn before.
    assert spent <= 2 * length * len(urgent) + 3 * budget


def test_tenants_of_equal_priority_share_what_the_more_urgent_leave() -> None:
    scheduler = Scheduler()
    scheduler.add("first", "old", [QueuedSequence(50, "old") for _ in range(2000)], priority=9)
    for number in range(10):
        scheduler.add(number, "greedy", [QueuedSequence(50, "greedy") for _ in range(400)], priority=5)
    scheduler.add("modest", "modest", [QueuedSequence(50, "modest") for _ in range(400)], priority=5)
    taken = Counter(sequence.payload for _ in range(40) for sequence in scheduler.next_batch(1000))
    # The older half is that of the oldest request; the other half is shared by the two tenants that are more urgent.
    assert abs(taken["old"] / taken.total() - 0.5) < 0.05
    assert abs(taken["greedy"] - taken["modest"]) <= 2 * QUANTUM // 50


def test_without_fairness_the_urgent_are_served_in_the_order_of_arrival() -> None:
    scheduler = Scheduler(fair=False)
    for name, priority in (("a", 9), ("b", 1), ("c", 1)):
        scheduler.add(name, name, [QueuedSequence(10, name) for _ in range(2)], priority=priority)
    order = [sequence.payload for batch in drained(scheduler, 10) for sequence in batch]
    assert order == ["a", "b", "a", "b", "c", "c"]


def test_a_pair_that_an_urgent_request_shares_is_computed_at_its_turn() -> None:
    scheduler = Scheduler()
    scheduler.add("first", "a", [QueuedSequence(10, "first") for _ in range(10)], priority=5)
    shared = [QueuedSequence(10, "shared")]
    scheduler.add("slow", "b", shared, priority=999)
    scheduler.add("urgent", "c", shared, priority=0)
    assert "shared" in [sequence.payload for sequence in scheduler.next_batch(20)]
    assert scheduler.remove("urgent") == 0
