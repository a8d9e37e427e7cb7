"""Scheduler: picks the sequences that are computed next. Pure: no threads, no asyncio, no torch, time is an argument.

The unit is the queued sequence, one forward pass of one pair; a request brings many, and one sequence may belong to
several requests that want the same score. Half of every step goes to the oldest sequences, whatever their priority, so
that an admitted request is finished within the time that its queue needs at half speed: no priority starves another.
The other half goes to the most urgent priority at which anything waits, and there by deficit round robin (see
round_robin.py) over tenants, and within a tenant over requests, new requests first for one quantum, so that two
documents need not wait for a thousand.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator

from rerankd.engine.round_robin import QueuedSequence, RequestQueue, RoundRobin
from rerankd.scoring.batches import BatchLimits, plan_batches

__all__ = ["QUANTUM", "QueuedSequence", "Scheduler"]

QUANTUM = 512


class Scheduler:
    """Waiting sequences in, batches out.

    Sequences are drawn from the queues into a window (the look-ahead), in which neighbours of similar length are found.

    Args:
        window_batches: size of the window in steps; a larger one finds closer lengths and waits longer.
        quantum: tokens that a request may take in its turn.
        fair: False serves in the order of arrival; requests of several priorities then share each step, half by age and
            half by priority.

    Example:
        >>> scheduler = Scheduler()
        >>> scheduler.add("a", "tenant", [QueuedSequence(length) for length in (10, 30, 20)])
        >>> [sequence.length for sequence in scheduler.next_batch(60)]
        [30, 20, 10]
    """

    def __init__(self, *, window_batches: float = 1.0, quantum: int = QUANTUM, fair: bool = True) -> None:
        self._window_batches, self._quantum, self._fair = window_batches, quantum, fair
        self._requests: OrderedDict[Hashable, RequestQueue] = OrderedDict()  # in the order of arrival
        self._priorities: dict[int, RoundRobin] = {}
        self._turns: list[RoundRobin] = []  # those of the priorities, the most urgent first
        self._window: OrderedDict[QueuedSequence, bool] = OrderedDict()  # True if drawn for its age
        self._deficit = 0  # tokens that the most urgent are behind the oldest
        self.waiting_tokens = 0
        self.waiting_pairs = 0

    def __len__(self) -> int:
        return self.waiting_pairs

    def add(
        self,
        request: Hashable,
        tenant: str,
        sequences: Iterable[QueuedSequence],
        deadline: float | None = None,
        priority: int = 0,
    ) -> None:
        """Queue sequences of a request, its first or more; those of another request are shared.

        Args:
            request: name of the request, unique among those that wait.
            tenant: tenant of the request; tenants share the model equally.
            sequences: sequences to compute.
            deadline: time after which `expire` returns the request.
            priority: urgency of the request; 0 is the most urgent.
        """
        queue = self._requests.get(request) or self._open_queue(request, tenant, deadline, priority)
        for sequence in sequences:
            if not sequence.wanted:
                self.waiting_tokens += sequence.length
                self.waiting_pairs += 1
            sequence.requests.add(request)
            queue.sequences.append(sequence)
            queue.waiting.append(sequence)

    def _open_queue(self, request: Hashable, tenant: str, deadline: float | None, priority: int) -> RequestQueue:
        self._requests[request] = queue = RequestQueue(request, tenant, deadline, priority, self._quantum)
        if priority not in self._priorities:
            self._priorities[priority] = RoundRobin(self._quantum)
            self._sort_priorities()
        self._priorities[priority].add(queue)
        return queue

    def _sort_priorities(self) -> None:
        self._turns = [self._priorities[priority] for priority in sorted(self._priorities)]

    def remove(self, request: Hashable) -> int:
        """Forget a request, finished or not.

        Returns:
            Sequences that were still waiting and that no other request wants.
        """
        queue = self._requests.pop(request, None)
        if queue is None:
            return 0
        turns = self._priorities[queue.priority]
        turns.remove(queue)
        if turns.empty:
            del self._priorities[queue.priority]
            self._sort_priorities()
        dropped = 0
        for sequence in queue.sequences:
            sequence.requests.discard(request)
            if not sequence.wanted and (not sequence.drawn or sequence in self._window):
                self._window.pop(sequence, None)
                self._leave(sequence)
                dropped += 1
        return dropped

    def expire(self, now: float) -> list[Hashable]:
        """Return the requests whose deadline has passed; they are not removed."""
        return [name for name, queue in self._requests.items() if queue.deadline is not None and queue.deadline <= now]

    def next_step(self, max_tokens: int, limits: BatchLimits) -> list[list[QueuedSequence]]:
        """Take the sequences of the next step, grouped into batches as the backend computes them.

        Args:
            max_tokens: tokens of the step at most; a longer sequence comes alone.
            limits: limits of one backend call.

        Returns:
            Batches, longest sequences first; empty if nothing waits. They belong to the caller now.
        """
        sequences = self.next_batch(max_tokens)
        batches = plan_batches([sequence.length for sequence in sequences], limits)
        return [[sequences[position] for position in batch] for batch in batches]

    def next_batch(self, max_tokens: int, max_pairs: int | None = None) -> list[QueuedSequence]:
        """Take neighbours in length around the sequence that was drawn first.

        Args:
            max_tokens: tokens at most; a longer sequence comes alone.
            max_pairs: sequences at most; None for no limit.

        Returns:
            Sequences, longest first; empty if none waits. They belong to the caller now.
        """
        self._fill_window(max_tokens)
        if not self._window:
            return []
        if self._fair:
            chosen = self._neighbours(max_tokens, max_pairs)
        else:
            chosen = list(_within(self._window, max_tokens, max_pairs))
        for sequence in chosen:
            del self._window[sequence]
            self._leave(sequence)
        return sorted(chosen, key=lambda sequence: -sequence.length)

    def window(self) -> list[QueuedSequence]:
        """Return the sequences that were drawn and not handed out yet, in the order of drawing."""
        return list(self._window)

    def _leave(self, sequence: QueuedSequence) -> None:
        sequence.drawn = True
        self.waiting_tokens -= sequence.length
        self.waiting_pairs -= 1

    def _fill_window(self, max_tokens: int) -> None:
        """Draw until the window is full, from the oldest and from the most urgent in equal shares of tokens."""
        capacity = max_tokens * self._window_batches
        tokens = sum(sequence.length for sequence in self._window)
        shared = self._fair or len(self._priorities) > 1
        # The oldest sequence is in the window however full it is, and the most urgent then get as many tokens.
        forced = not any(self._window.values())
        while forced or tokens < capacity or (self._deficit > 0 and shared and tokens < 2 * capacity):
            by_age = forced or not shared or self._deficit <= 0
            sequence = next(self._oldest(), None) if by_age else self._most_urgent()
            if sequence is None:
                return
            sequence.drawn = True
            self._window[sequence] = by_age
            if shared:
                self._deficit += sequence.length if by_age else -sequence.length
            tokens += sequence.length
            forced = False

    def _oldest(self) -> Iterator[QueuedSequence]:
        heads = (queue.head() for queue in self._requests.values())
        return (sequence for sequence in heads if sequence is not None)

    def _most_urgent(self) -> QueuedSequence | None:
        """Return the next sequence of the most urgent priority at which one waits; None if none waits."""
        if not self._fair:
            queues = [queue for queue in self._requests.values() if queue.head() is not None]
            return min(queues, key=lambda queue: queue.priority).head() if queues else None
        for turns in self._turns:
            if (sequence := turns.next()) is not None:
                return sequence
        return None

    def _neighbours(self, max_tokens: int, max_pairs: int | None) -> list[QueuedSequence]:
        """Return the sequences of the window that are closest in length to its first one, as many as fit."""
        first = next(iter(self._window))
        order = sorted(self._window, key=lambda sequence: sequence.length)
        low = high = order.index(first)
        tokens = first.length
        limit = max_pairs or len(order)
        while high - low + 1 < limit:
            below = order[low - 1] if low > 0 else None
            above = order[high + 1] if high + 1 < len(order) else None
            fits = [s for s in (below, above) if s is not None and tokens + s.length <= max_tokens]
            if not fits:
                break
            nearest = min(fits, key=lambda sequence: abs(sequence.length - first.length))
            tokens += nearest.length
            low, high = (low - 1, high) if nearest is below else (low, high + 1)
        return order[low : high + 1]


def _within(sequences: Iterable[QueuedSequence], max_tokens: int, max_pairs: int | None) -> Iterator[QueuedSequence]:
    """Yield the first sequences that fit; at least one."""
    tokens = 0
    for count, sequence in enumerate(sequences):
        tokens += sequence.length
        if count and (tokens > max_tokens or count == max_pairs):
            return
        yield sequence
