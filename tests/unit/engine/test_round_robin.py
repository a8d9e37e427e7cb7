from __future__ import annotations

from rerankd.engine.round_robin import QueuedSequence, RequestQueue, RoundRobin


def waiting(request: str, tenant: str, lengths: list[int]) -> RequestQueue:
    queue = RequestQueue(request, tenant, None, 0, 512)
    queue.waiting.extend(QueuedSequence(length, request, requests={request}) for length in lengths)
    return queue


def drawn(turns: RoundRobin, count: int) -> list[str]:
    payloads = []
    for _ in range(count):
        sequence = turns.next()
        assert sequence is not None
        sequence.drawn = True
        payloads.append(sequence.payload)
    return payloads


def test_tenants_take_turns_of_a_quantum_and_the_newest_is_first() -> None:
    turns = RoundRobin(512)
    turns.add(waiting("old", "a", [256] * 20))
    assert drawn(turns, 2) == ["old"] * 2
    turns.add(waiting("new", "b", [256] * 20))
    taken = drawn(turns, 24)
    assert taken[0] == "new"
    assert abs(taken.count("new") - taken.count("old")) <= 4


def test_what_is_removed_has_no_turn() -> None:
    turns, queue = RoundRobin(512), waiting("one", "a", [10])
    turns.add(queue)
    turns.remove(queue)
    assert turns.empty
    assert turns.next() is None


def test_a_sequence_that_nobody_wants_is_passed_over() -> None:
    turns, queue = RoundRobin(512), waiting("one", "a", [10, 20])
    turns.add(queue)
    queue.waiting[0].requests.clear()
    assert turns.next() is queue.waiting[0]
    assert queue.waiting[0].length == 20
