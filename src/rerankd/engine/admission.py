"""Admission control (load shedding): accepts or rejects a request before any work is done for it. Pure: time is an
argument.

An accepted request is finished within `max_queue_seconds`. Half of every step goes to the oldest sequences (see
scheduler.py), so in the worst case the work ahead of a request is computed at half speed; the queue is therefore
limited to half of what the model computes in that time. A rejected client gets a retry time and a reservation for it.
While reservations exist, new requests may fill only half of the queue, so retries succeed even under sustained
overload. The share of clients that retry is measured, because reservations that are never used lengthen the queue.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from rerankd.errors import DeadlineExceededError, OverloadedError

SMOOTHING_SECONDS = 5.0
NEW_REQUESTS_SHARE = 0.5
RESERVED_SHARE = 0.7
EARLY_SECONDS = 0.5
LATE_SECONDS = 3.0
GRACE_SECONDS = 30.0
RETURN_RATE_WEIGHT = 0.02
MAX_RESERVATIONS = 50_000


class RateMeter:
    """Moving average of the tokens computed per second, over the last seconds of computing.

    Attributes:
        tokens_per_second: the average; 0 before the first observation.
    """

    def __init__(self) -> None:
        self.tokens_per_second = 0.0
        self._seconds = 0.0

    def observe(self, tokens: int, seconds: float) -> None:
        """Add a measurement."""
        if seconds <= 0:
            return
        self._seconds = min(self._seconds + seconds, SMOOTHING_SECONDS)
        weight = min(1.0, seconds / self._seconds)
        self.tokens_per_second += weight * (tokens / seconds - self.tokens_per_second)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room in the queue for a rejected client that comes back.

    Attributes:
        at: time at which it may come back.
        tokens: tokens reserved for it.
    """

    at: float
    tokens: int


class Admission:
    """Bound of one model's queue.

    Args:
        max_queue_seconds: time within which an accepted request is answered.

    Attributes:
        rate: measured speed of the model.
        return_rate: share of the rejected clients that come back, 0 to 1.

    Example:
        >>> admission = Admission(10.0)
        >>> admission.rate.observe(1000, 1.0)
        >>> admission.capacity
        5000
        >>> admission.admit(400, "retry-key", queued=4000, now=0.0)
    """

    def __init__(self, max_queue_seconds: float) -> None:
        self.max_queue_seconds = max_queue_seconds
        self.rate = RateMeter()
        self.return_rate = 1.0
        self._reservations: OrderedDict[str, Reservation] = OrderedDict()
        self._expected: deque[tuple[float, str]] = deque()
        self._queue_tail: dict[str, float] = {}  # by tenant, the time at which its reserved work is done

    @property
    def capacity(self) -> int:
        """Maximum number of queued tokens; 0 while nothing has been measured, which admits one request at a time."""
        return int(self.rate.tokens_per_second * self.max_queue_seconds / 2)

    @property
    def request_limit(self) -> int:
        """Maximum number of tokens that one request counts for."""
        return max(1, int(self.capacity * NEW_REQUESTS_SHARE))

    def admit(
        self, tokens: int, retry_key: str, tenant: str = "", *, queued: int, now: float, deadline: float | None = None
    ) -> None:
        """Accept a request, or raise.

        Args:
            tokens: estimated tokens of the request.
            retry_key: text that is the same when the same request is sent again.
            tenant: tenant of the request; each has a queue of reservations of its own.
            queued: tokens that wait already.
            now: current time in seconds.
            deadline: time limit of the request; None for no limit.

        Raises:
            OverloadedError: the queue is full; `retry_after` is when there will be room.
            DeadlineExceededError: computing the request alone takes longer than its deadline allows.
        """
        speed = self.rate.tokens_per_second
        if deadline is not None and speed and now + tokens / speed > deadline:
            raise DeadlineExceededError(
                f"The request needs about {tokens / speed:.1f} s and its time limit is {max(deadline - now, 0):.1f} s.",
                hint="Use a longer timeout, or send fewer documents.",
            )
        self._forget(now)
        reservation = self._reservations.get(retry_key)
        is_due = reservation is not None and reservation.at - EARLY_SECONDS <= now
        limit = self.capacity if is_due or not self._reservations else int(self.capacity * NEW_REQUESTS_SHARE)
        # A request larger than half the queue needs only that much free room, or it would never be accepted.
        needed = min(tokens, self.request_limit)
        if queued == 0 or queued + needed <= limit:
            if self._reservations.pop(retry_key, None) is not None:
                self._learn(1.0)
            return
        if reservation is None or is_due:
            # a client that retries on time may use the full capacity
            drained = now + (queued + needed - self.capacity) / max(speed, 1.0)
            if is_due:  # it retried on time, but the model has become slower: keep its position
                reservation = self._reservations[retry_key] = Reservation(drained, tokens)
            else:
                reservation = self._reserve(tokens, drained, retry_key, tenant)
        raise OverloadedError(
            f"The queue is full: {queued} tokens are waiting, and {speed:.0f} are computed per second.",
            hint="Send the request again after the time in Retry-After.",
            retry_after=max(reservation.at - now, 0.001),
        )

    def admit_background(self, tokens: int, *, queued: int) -> None:
        """Accept a background request, or raise; background work has a small part of the queue for itself.

        Args:
            tokens: estimated tokens of the request.
            queued: tokens of background work that wait already.

        Raises:
            OverloadedError: its part is full; nothing is reserved, since the order of such work does not matter.
        """
        limit = self.request_limit // 2
        if queued and (over := queued + min(tokens, limit) - limit) > 0:
            speed = max(self.rate.tokens_per_second, 1.0)
            raise OverloadedError(
                "The queue for background work is full.",
                hint="Send the request again after the time in Retry-After.",
                retry_after=max(over / speed, 0.01),
            )

    def _reserve(self, tokens: int, drained: float, retry_key: str, tenant: str) -> Reservation:
        """Reserve room at the end of the tenant's queue; a tenant that sends much waits behind its own requests."""
        reservation = Reservation(max(drained, self._queue_tail.get(tenant, 0.0)), tokens)
        if len(self._reservations) < MAX_RESERVATIONS:
            speed = max(self.rate.tokens_per_second, 1.0)
            self._queue_tail.setdefault(tenant, 0.0)
            tokens_per_second = speed * RESERVED_SHARE / len(self._queue_tail)
            self._queue_tail[tenant] = reservation.at + tokens * self.return_rate / tokens_per_second
            self._expected.append((reservation.at, retry_key))
            self._reservations[retry_key] = reservation
        return reservation

    def _learn(self, returned: float) -> None:
        self.return_rate += RETURN_RATE_WEIGHT * (returned - self.return_rate)

    def _forget(self, now: float) -> None:
        """Count clients that did not come back, and drop their reservations after a grace period."""
        while self._expected and self._expected[0][0] + LATE_SECONDS < now:
            at, retry_key = self._expected.popleft()
            reservation = self._reservations.get(retry_key)
            if reservation is not None and reservation.at == at:
                self._learn(0.0)
        while self._reservations:
            retry_key, first = next(iter(self._reservations.items()))
            if first.at + GRACE_SECONDS > now:
                break
            del self._reservations[retry_key]
        if self._queue_tail:
            self._queue_tail = {tenant: end for tenant, end in self._queue_tail.items() if end > now}


def make_retry_key(client: str, body: bytes) -> str:
    """Return a short text for one client's request, the same when it is sent again.

    Args:
        client: id of the API key, or the client's address.
        body: body of the request.

    Example:
        >>> make_retry_key("key", b"{}") == make_retry_key("key", b"{}")
        True
    """
    return blake2b(body, digest_size=16, key=client.encode("utf-8", "replace")[:64]).hexdigest()


class TokenEstimate:
    """Estimate of tokens from bytes, learnt from the texts that were tokenized.

    Args:
        tokens_per_byte: ratio to begin with.
    """

    def __init__(self, tokens_per_byte: float = 0.3) -> None:
        self.tokens_per_byte = tokens_per_byte

    def __call__(self, texts: Sequence[str], query: str, longest: int, special: int) -> int:
        """Estimate the tokens of a query paired with each of the texts.

        Args:
            texts: documents.
            query: query; its tokens count for each document.
            longest: tokens computed for one document at most.
            special: special tokens of a pair.
        """
        query_tokens = min(int(size(query) * self.tokens_per_byte) + special, longest)
        ratio = self.tokens_per_byte
        return sum(min(int(size(text) * ratio) + query_tokens, longest) for text in texts)

    def update(self, estimated: int, counted: int) -> None:
        """Move the ratio towards the tokens that a request turned out to have."""
        if estimated > 0 and counted > 0:
            factor = min(max(counted / estimated, 0.5), 2.0)
            self.tokens_per_byte = min(max(self.tokens_per_byte * factor**0.1, 0.02), 2.0)


def size(text: str) -> int:
    """Return the approximate number of UTF-8 bytes of a text, without encoding it.

    Non-ASCII texts are mostly Chinese here, three bytes per character.
    """
    return len(text) if text.isascii() else 3 * len(text)
