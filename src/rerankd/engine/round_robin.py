"""Deficit round robin (Shreedhar and Varghese 1995) over tenants, and within a tenant over requests. Pure.

Every turn is worth a quantum of tokens. Within a tenant, new requests go first for one quantum (as in RFC 8290).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any


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
    priority: int
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


class RoundRobin:
    """The requests of equal priority, which take turns.

    Args:
        quantum: tokens that a request may take in its turn.

    Example:
        >>> turns = RoundRobin(512)
        >>> queue = RequestQueue("a", "tenant", None, 0, 512)
        >>> queue.waiting.append(QueuedSequence(30, requests={"a"}))
        >>> turns.add(queue)
        >>> turns.next().length
        30
    """

    def __init__(self, quantum: int) -> None:
        self._quantum = quantum
        self._tenants: OrderedDict[str, TenantQueue] = OrderedDict()

    @property
    def empty(self) -> bool:
        """True if no request is left."""
        return not self._tenants

    def add(self, queue: RequestQueue) -> None:
        """Add a request; a tenant that had none has the next turn."""
        if queue.tenant not in self._tenants:
            self._tenants[queue.tenant] = TenantQueue(deficit=self._quantum)
            self._tenants.move_to_end(queue.tenant, last=False)
        self._tenants[queue.tenant].fresh.append(queue)

    def remove(self, queue: RequestQueue) -> None:
        """Remove a request."""
        tenant = self._tenants[queue.tenant]
        tenant.remove(queue)
        if tenant.empty:
            del self._tenants[queue.tenant]

    def next(self) -> QueuedSequence | None:
        """Return the next sequence, and take its tokens from the turn that it belongs to; None if none waits."""
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
