"""Which pairs are computed next. Pure: no threads, no asyncio, no torch, and time is an argument.

The unit is the ticket, one sequence for the model; a request brings many, and one ticket may belong to several
requests that want the same score. Half of every batch goes to the oldest tickets, so that whatever was admitted is
finished in the time that its queue needs at half speed; the other half goes by deficit round robin (Shreedhar and
Varghese, 1995) over keys, and within a key over requests, newcomers first for one quantum, so that two documents need
not wait for a thousand.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

QUANTUM = 512


@dataclass(eq=False, slots=True)
class QueuedSequence:
    """One sequence that waits for its logit.

    Attributes:
        length: tokens.
        payload: what the engine wants back; never looked at here.
        owners: requests that wait for it; a ticket without any is dropped.
        drawn: whether it has left its queues for the window.
    """

    length: int
    payload: Any = None
    owners: set[Hashable] = field(default_factory=set)
    drawn: bool = False

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for it."""
        return bool(self.owners)


@dataclass(eq=False, slots=True)
class _Flow:
    """The tickets of one request, and what it may still take in this round."""

    request: Hashable
    key: str
    deadline: float | None
    deficit: int
    tickets: deque[QueuedSequence] = field(default_factory=deque)
    own: list[QueuedSequence] = field(default_factory=list)

    def head(self) -> QueuedSequence | None:
        """The next ticket that nobody has drawn."""
        while self.tickets and (self.tickets[0].drawn or not self.tickets[0].wanted):
            self.tickets.popleft()
        return self.tickets[0] if self.tickets else None


@dataclass(eq=False, slots=True)
class _Share:
    """The flows of one key; those that have not had their first turn go before the others (as in RFC 8290)."""

    fresh: deque[_Flow] = field(default_factory=deque)
    flows: deque[_Flow] = field(default_factory=deque)
    deficit: int = 0

    def remove(self, flow: _Flow) -> None:
        (self.fresh if flow in self.fresh else self.flows).remove(flow)

    @property
    def empty(self) -> bool:
        return not self.fresh and not self.flows


class Scheduler:
    """Waiting tickets in, batches out.

    Args:
        window_batches: batches that the window holds; more of them find closer lengths, and wait longer.
        quantum: tokens that a request may take in its turn.
        fair: False serves strictly in the order of arrival.

    Example:
        >>> scheduler = Scheduler()
        >>> scheduler.add("a", "key", [QueuedSequence(length) for length in (10, 30, 20)])
        >>> [ticket.length for ticket in scheduler.next_batch(60)]
        [30, 20, 10]
    """

    def __init__(self, *, window_batches: float = 1.0, quantum: int = QUANTUM, fair: bool = True) -> None:
        self._window_batches, self._quantum, self._fair = window_batches, quantum, fair
        self._arrival: OrderedDict[Hashable, _Flow] = OrderedDict()
        self._shares: OrderedDict[str, _Share] = OrderedDict()
        self._window: OrderedDict[QueuedSequence, bool] = OrderedDict()  # whether it was drawn for its age
        self._owed = 0  # tokens that turns are behind age
        self.waiting_tokens = 0
        self.waiting_pairs = 0

    def __len__(self) -> int:
        return self.waiting_pairs

    def add(
        self, request: Hashable, key: str, tickets: Iterable[QueuedSequence], deadline: float | None = None
    ) -> None:
        """Queue tickets of a request, its first or more; those that another request brought already are shared.

        Args:
            request: its name, unique among those that wait.
            key: whose it is; keys share the model equally.
            tickets: sequences to compute.
            deadline: time after which `expire` names it.
        """
        flow = self._arrival.get(request) or self._enter(request, key, deadline)
        for ticket in tickets:
            if not ticket.wanted:
                self.waiting_tokens += ticket.length
                self.waiting_pairs += 1
            ticket.owners.add(request)
            flow.own.append(ticket)
            flow.tickets.append(ticket)

    def _enter(self, request: Hashable, key: str, deadline: float | None) -> _Flow:
        self._arrival[request] = flow = _Flow(request, key, deadline, self._quantum)
        if key not in self._shares:
            self._shares[key] = _Share(deficit=self._quantum)
            self._shares.move_to_end(key, last=False)
        self._shares[key].fresh.append(flow)
        return flow

    def remove(self, request: Hashable) -> int:
        """Forget a request, finished or not.

        Returns:
            Tickets that were still waiting and that nobody wants any more.
        """
        flow = self._arrival.pop(request, None)
        if flow is None:
            return 0
        share = self._shares[flow.key]
        share.remove(flow)
        if share.empty:
            del self._shares[flow.key]
        dropped = 0
        for ticket in flow.own:
            ticket.owners.discard(request)
            if not ticket.wanted and (not ticket.drawn or ticket in self._window):
                self._window.pop(ticket, None)
                self._leave(ticket)
                dropped += 1
        return dropped

    def expire(self, now: float) -> list[Hashable]:
        """Requests whose deadline has passed; they are not removed."""
        return [name for name, flow in self._arrival.items() if flow.deadline is not None and flow.deadline <= now]

    def next_batch(self, max_tokens: int, max_pairs: int | None = None) -> list[QueuedSequence]:
        """Take the next batch: neighbours in length around the ticket that was drawn first.

        Args:
            max_tokens: tokens of the batch at most; a longer ticket comes alone.
            max_pairs: tickets of the batch at most.

        Returns:
            Tickets, longest first; empty if none waits. They belong to the caller now.
        """
        self._fill(max_tokens)
        if not self._window:
            return []
        if self._fair:
            chosen = self._neighbours(max_tokens, max_pairs)
        else:
            chosen = list(_within(self._window, max_tokens, max_pairs))
        for ticket in chosen:
            del self._window[ticket]
            self._leave(ticket)
        return sorted(chosen, key=lambda ticket: -ticket.length)

    def window(self) -> list[QueuedSequence]:
        """Tickets that were drawn and not handed out yet, in the order of drawing."""
        return list(self._window)

    def _leave(self, ticket: QueuedSequence) -> None:
        ticket.drawn = True
        self.waiting_tokens -= ticket.length
        self.waiting_pairs -= 1

    def _fill(self, max_tokens: int) -> None:
        """Draw until the window is full, from the oldest and by turns in equal shares of tokens."""
        capacity = max_tokens * self._window_batches
        tokens = sum(ticket.length for ticket in self._window)
        # The oldest ticket is in the window however full it is, and then whose turn it is gets as much.
        forced = not any(self._window.values())
        while forced or tokens < capacity or (self._owed > 0 and self._fair and tokens < 2 * capacity):
            by_age = forced or not self._fair or self._owed <= 0
            ticket = next(self._oldest(), None) if by_age else self._turn()
            if ticket is None:
                return
            ticket.drawn = True
            self._window[ticket] = by_age
            self._owed += ticket.length if by_age else -ticket.length
            tokens += ticket.length
            forced = False

    def _oldest(self) -> Iterator[QueuedSequence]:
        heads = (flow.head() for flow in self._arrival.values())
        return (ticket for ticket in heads if ticket is not None)

    def _turn(self) -> QueuedSequence | None:
        """The ticket whose turn it is, by deficit round robin over keys and requests."""
        idle = 0
        while idle < len(self._shares):
            name, share = next(iter(self._shares.items()))
            flow = self._flow(share)
            ticket = flow.head() if flow else None
            if flow is None or ticket is None:
                share.deficit = 0
                idle += 1
            elif ticket.length <= share.deficit:
                share.deficit -= ticket.length
                flow.deficit -= ticket.length
                return ticket
            else:
                share.deficit += self._quantum
                idle = 0
            self._shares.move_to_end(name)
        return None

    def _flow(self, share: _Share) -> _Flow | None:
        """The request within a key whose turn it is, with enough deficit for its next ticket."""
        while share.fresh:
            flow = share.fresh[0]
            ticket = flow.head()
            if ticket is not None and ticket.length <= flow.deficit:
                return flow
            share.flows.append(share.fresh.popleft())
        idle = 0
        while idle < len(share.flows):
            flow = share.flows[0]
            ticket = flow.head()
            if ticket is None:
                flow.deficit = 0
                idle += 1
            elif ticket.length <= flow.deficit:
                return flow
            else:
                flow.deficit += self._quantum
                idle = 0
            share.flows.rotate(-1)
        return None

    def _neighbours(self, max_tokens: int, max_pairs: int | None) -> list[QueuedSequence]:
        first = next(iter(self._window))
        order = sorted(self._window, key=lambda ticket: ticket.length)
        low = high = order.index(first)
        tokens = first.length
        limit = max_pairs or len(order)
        while high - low + 1 < limit:
            below = order[low - 1] if low > 0 else None
            above = order[high + 1] if high + 1 < len(order) else None
            fits = [t for t in (below, above) if t is not None and tokens + t.length <= max_tokens]
            if not fits:
                break
            near = min(fits, key=lambda ticket: abs(ticket.length - first.length))
            tokens += near.length
            low, high = (low - 1, high) if near is below else (low, high + 1)
        return order[low : high + 1]


def _within(tickets: Iterable[QueuedSequence], max_tokens: int, max_pairs: int | None) -> Iterator[QueuedSequence]:
    """The first tickets that fit; at least one."""
    tokens = 0
    for count, ticket in enumerate(tickets):
        tokens += ticket.length
        if count and (tokens > max_tokens or count == max_pairs):
            return
        yield ticket
