"""Scheduler: picks the sequences that are computed next. Pure: no threads, no asyncio, no torch, time is an argument.

The unit is the queued sequence, one forward pass of one pair; a request brings many, and one sequence may belong to
several requests that want the same score. Half of every step goes to the oldest sequences, so that an admitted request
is finished within the time that its queue needs at half speed. The other half goes by deficit round robin (Shreedhar
and Varghese 1995) over tenants, and within a tenant over requests, new requests first for one quantum, so that two
documents need not wait for a thousand.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rerankd.scoring.batches import BatchLimits, plan_batches

QUANTUM = 512


@dataclass(eq=False, slots=True)
class QueuedSequence:
    """One sequence that waits for its logit.

    Attributes:
        length: tokens.
        payload: opaque value for the engine; the scheduler never looks at it.
        requests: requests that wait for it; a sequence without requests is dropped.
        drawn: True once it has left its queues for the window.
    """

    length: int
    payload: Any = None
    requests: set[Hashable] = field(default_factory=set)
    drawn: bool = False

    @property
    def wanted(self) -> bool:
        """True while a request waits for it."""
        return bool(self.requests)


@dataclass(eq=False, slots=True)
class RequestQueue:
    """The waiting sequences of one request, and the tokens that it may still take in this round."""

    request: Hashable
    tenant: str
    deadline: float | None
    deficit: int
    waiting: deque[QueuedSequence] = field(default_factory=deque)
    sequences: list[QueuedSequence] = field(default_factory=list)

    def head(self) -> QueuedSequence | None:
        """Return the next sequence that was not drawn by another queue; None if there is none."""
        while self.waiting and (self.waiting[0].drawn or not self.waiting[0].wanted):
            self.waiting.popleft()
        return self.waiting[0] if self.waiting else None


@dataclass(eq=False, slots=True)
class TenantQueue:
    """The requests of one tenant; those that have not had their first turn go before the others (as in RFC 8290)."""

    fresh: deque[RequestQueue] = field(default_factory=deque)
    served: deque[RequestQueue] = field(default_factory=deque)
    deficit: int = 0

    def remove(self, queue: RequestQueue) -> None:
        """Remove a request."""
        (self.fresh if queue in self.fresh else self.served).remove(queue)

    @property
    def empty(self) -> bool:
        """True if no request is left."""
        return not self.fresh and not self.served


class Scheduler:
    """Waiting sequences in, batches out.

    Sequences are drawn from the queues into a window (the look-ahead), in which neighbours of similar length are found.

    Args:
        window_batches: size of the window in steps; a larger one finds closer lengths and waits longer.
        quantum: tokens that a request may take in its turn.
        fair: False serves strictly in the order of arrival.

    Example:
        >>> scheduler = Scheduler()
        >>> scheduler.add("a", "tenant", [QueuedSequence(length) for length in (10, 30, 20)])
        >>> [sequence.length for sequence in scheduler.next_batch(60)]
        [30, 20, 10]
    """

    def __init__(self, *, window_batches: float = 1.0, quantum: int = QUANTUM, fair: bool = True) -> None:
        self._window_batches, self._quantum, self._fair = window_batches, quantum, fair
        self._requests: OrderedDict[Hashable, RequestQueue] = OrderedDict()  # in the order of arrival
        self._tenants: OrderedDict[str, TenantQueue] = OrderedDict()
        self._window: OrderedDict[QueuedSequence, bool] = OrderedDict()  # True if drawn for its age
        self._deficit = 0  # tokens that round robin is behind the oldest
        self.waiting_tokens = 0
        self.waiting_pairs = 0

    def __len__(self) -> int:
        return self.waiting_pairs

    def add(
        self, request: Hashable, tenant: str, sequences: Iterable[QueuedSequence], deadline: float | None = None
    ) -> None:
        """Queue sequences of a request, its first or more; those of another request are shared.

        Args:
            request: name of the request, unique among those that wait.
            tenant: tenant of the request; tenants share the model equally.
            sequences: sequences to compute.
            deadline: time after which `expire` returns the request.
        """
        queue = self._requests.get(request) or self._open_queue(request, tenant, deadline)
        for sequence in sequences:
            if not sequence.wanted:
                self.waiting_tokens += sequence.length
                self.waiting_pairs += 1
            sequence.requests.add(request)
            queue.sequences.append(sequence)
            queue.waiting.append(sequence)

    def _open_queue(self, request: Hashable, tenant: str, deadline: float | None) -> RequestQueue:
        self._requests[request] = queue = RequestQueue(request, tenant, deadline, self._quantum)
        if tenant not in self._tenants:
            self._tenants[tenant] = TenantQueue(deficit=self._quantum)
            self._tenants.move_to_end(tenant, last=False)
        self._tenants[tenant].fresh.append(queue)
        return queue

    def remove(self, request: Hashable) -> int:
        """Forget a request, finished or not.

        Returns:
            Sequences that were still waiting and that no other request wants.
        """
        queue = self._requests.pop(request, None)
        if queue is None:
            return 0
        tenant = self._tenants[queue.tenant]
        tenant.remove(queue)
        if tenant.empty:
            del self._tenants[queue.tenant]
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
        """Draw until the window is full, from the oldest and by round robin in equal shares of tokens."""
        capacity = max_tokens * self._window_batches
        tokens = sum(sequence.length for sequence in self._window)
        # The oldest sequence is in the window however full it is, and round robin then gets as many tokens.
        forced = not any(self._window.values())
        while forced or tokens < capacity or (self._deficit > 0 and self._fair and tokens < 2 * capacity):
            by_age = forced or not self._fair or self._deficit <= 0
            sequence = next(self._oldest(), None) if by_age else self._round_robin()
            if sequence is None:
                return
            sequence.drawn = True
            self._window[sequence] = by_age
            self._deficit += sequence.length if by_age else -sequence.length
            tokens += sequence.length
            forced = False

    def _oldest(self) -> Iterator[QueuedSequence]:
        heads = (queue.head() for queue in self._requests.values())
        return (sequence for sequence in heads if sequence is not None)

    def _round_robin(self) -> QueuedSequence | None:
        """Return the next sequence by deficit round robin over tenants and requests; None if none waits."""
        idle = 0
        while idle < len(self._tenants):
            name, tenant = next(iter(self._tenants.items()))
            queue = self._next_request(tenant)
            sequence = queue.head() if queue else None
            if queue is None or sequence is None:
                tenant.deficit = 0
                idle += 1
            elif sequence.length <= tenant.deficit:
                tenant.deficit -= sequence.length
                queue.deficit -= sequence.length
                return sequence
            else:  # its turn is over; it saves up for its next one
                tenant.deficit += self._quantum
                idle = 0
            self._tenants.move_to_end(name)
        return None

    def _next_request(self, tenant: TenantQueue) -> RequestQueue | None:
        """Return the request whose turn it is within a tenant, with enough deficit for its next sequence."""
        while tenant.fresh:
            queue = tenant.fresh[0]
            sequence = queue.head()
            if sequence is not None and sequence.length <= queue.deficit:
                return queue
            tenant.served.append(tenant.fresh.popleft())
        idle = 0
        while idle < len(tenant.served):
            queue = tenant.served[0]
            sequence = queue.head()
            if sequence is None:
                queue.deficit = 0
                idle += 1
            elif sequence.length <= queue.deficit:
                return queue
            else:
                queue.deficit += self._quantum
                idle = 0
            tenant.served.rotate(-1)
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
