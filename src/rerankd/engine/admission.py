"""Whether a request is taken, before any work is done for it. Pure: time is an argument.

The queue is bounded by time: an accepted request is finished within `max_queue_seconds`. Half of every batch goes to
the oldest (see scheduler.py), so work that is ahead of a request passes at half speed at worst, and the queue may hold
half of what the model computes in that time. A refused caller is told when to come again and gets that place: while
there are such places, newcomers may fill only half the queue, so that waiting as told succeeds also under lasting
overload. How many come back is learnt: places of callers who never return would make the line long for nothing.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from rerankd.errors import DeadlineExceededError, OverloadedError

SMOOTHING_SECONDS = 5.0
NEWCOMERS_SHARE = 0.5
PROMISED_SHARE = 0.7
EARLY_SECONDS = 0.5
LATE_SECONDS = 3.0
GRACE_SECONDS = 30.0
RETURNING_WEIGHT = 0.02
MAX_PROMISES = 50_000


class RateMeter:
    """Tokens per second while the model computes, averaged over the last seconds of computing."""

    def __init__(self) -> None:
        self.tokens_per_second = 0.0
        self._seconds = 0.0

    def observe(self, tokens: int, seconds: float) -> None:
        """Count a batch."""
        if seconds <= 0:
            return
        self._seconds = min(self._seconds + seconds, SMOOTHING_SECONDS)
        weight = min(1.0, seconds / self._seconds)
        self.tokens_per_second += weight * (tokens / seconds - self.tokens_per_second)


@dataclass(frozen=True, slots=True)
class Promise:
    """When a refused caller may come again, and the tokens that are kept for it."""

    at: float
    tokens: int


class Admission:
    """The bound of one model's queue.

    Args:
        max_queue_seconds: time within which an accepted request is answered.

    Example:
        >>> admission = Admission(10.0)
        >>> admission.rate.observe(1000, 1.0)
        >>> admission.capacity
        5000
        >>> admission.admit(400, "caller", queued=4000, now=0.0)
    """

    def __init__(self, max_queue_seconds: float) -> None:
        self.max_queue_seconds = max_queue_seconds
        self.rate = RateMeter()
        self.returning = 1.0
        self._promises: OrderedDict[str, Promise] = OrderedDict()
        self._awaited: deque[tuple[float, str]] = deque()
        self._lines: dict[str, float] = {}  # by key, when its promised work will have been done

    @property
    def capacity(self) -> int:
        """Tokens that may wait; 0 while nothing has been measured, which admits one request at a time."""
        return int(self.rate.tokens_per_second * self.max_queue_seconds / 2)

    @property
    def share(self) -> int:
        """Tokens that one request counts for at most."""
        return max(1, int(self.capacity * NEWCOMERS_SHARE))

    def admit(
        self, tokens: int, caller: str, key: str = "", *, queued: int, now: float, deadline: float | None = None
    ) -> None:
        """Say whether a request may enter the queue.

        Args:
            tokens: estimate of what it will compute.
            caller: who sends what; the same string when the same request is sent again.
            key: whose request it is; each key has a line of its own.
            queued: tokens that wait already.
            now: the time.
            deadline: the caller's own, if any.

        Raises:
            OverloadedError: the queue is full; `retry_after` says when there is a place.
            DeadlineExceededError: the request alone takes longer than its deadline.
        """
        speed = self.rate.tokens_per_second
        if deadline is not None and speed and now + tokens / speed > deadline:
            raise DeadlineExceededError(
                f"The request needs about {tokens / speed:.1f} s and was given {max(deadline - now, 0):.1f} s.",
                hint="Give it more time, or send fewer documents.",
            )
        self._forget(now)
        promise = self._promises.get(caller)
        due = promise is not None and promise.at - EARLY_SECONDS <= now
        limit = self.capacity if due or not self._promises else int(self.capacity * NEWCOMERS_SHARE)
        # What is larger than half a queue needs no more than that to be free, or it would never come in.
        needed = min(tokens, self.share)
        if queued == 0 or queued + needed <= limit:
            if self._promises.pop(caller, None) is not None:
                self._learn(1.0)
            return
        if promise is None or due:
            drained = now + (queued + needed - self.capacity) / max(speed, 1.0)  # who is due may use all of it
            promise = self._again(tokens, drained, caller) if due else self._place(tokens, drained, caller, key)
        raise OverloadedError(
            f"The queue is full: {queued} tokens wait, and {speed:.0f} are computed in a second.",
            hint="Send the request again after the time in Retry-After.",
            retry_after=max(promise.at - now, 0.001),
        )

    def admit_background(self, tokens: int, *, queued: int) -> None:
        """Say whether work that nobody waits for may enter the queue, where it has a small part for itself.

        Args:
            tokens: estimate of what it will compute.
            queued: tokens of such work that wait already.

        Raises:
            OverloadedError: its part is full; no place is kept, since what comes first is as good as any other.
        """
        limit = self.share // 2
        if queued and (over := queued + min(tokens, limit) - limit) > 0:
            speed = max(self.rate.tokens_per_second, 1.0)
            raise OverloadedError("Other work in the background comes first.", retry_after=max(over / speed, 0.01))

    def _again(self, tokens: int, drained: float, caller: str) -> Promise:
        """Who came when told and finds no place, because the model is slower than it was, does not queue up again."""
        promise = self._promises[caller] = Promise(drained, tokens)
        return promise

    def _place(self, tokens: int, drained: float, caller: str, key: str) -> Promise:
        """The next place in the key's line; who sends much waits behind itself, and not others behind it."""
        promise = Promise(max(drained, self._lines.get(key, 0.0)), tokens)
        if len(self._promises) < MAX_PROMISES:
            speed = max(self.rate.tokens_per_second, 1.0)
            self._lines.setdefault(key, 0.0)
            pace = speed * PROMISED_SHARE / len(self._lines)
            self._lines[key] = promise.at + tokens * self.returning / pace
            self._awaited.append((promise.at, caller))
            self._promises[caller] = promise
        return promise

    def _learn(self, came: float) -> None:
        self.returning += RETURNING_WEIGHT * (came - self.returning)

    def _forget(self, now: float) -> None:
        while self._awaited and self._awaited[0][0] + LATE_SECONDS < now:
            at, caller = self._awaited.popleft()
            promise = self._promises.get(caller)
            if promise is not None and promise.at == at:
                self._learn(0.0)
        while self._promises:
            caller, first = next(iter(self._promises.items()))
            if first.at + GRACE_SECONDS > now:
                break
            del self._promises[caller]
        self._lines = {key: end for key, end in self._lines.items() if end > now} if self._lines else self._lines


def make_retry_key(who: str, body: bytes) -> str:
    """A short name for one caller's one request, the same when it is sent again.

    Example:
        >>> make_retry_key("key", b"{}") == make_retry_key("key", b"{}")
        True
    """
    return blake2b(body, digest_size=16, key=who.encode("utf-8", "replace")[:64]).hexdigest()


class TokenEstimate:
    """Tokens of a text from its bytes, learnt from the texts that were tokenised."""

    def __init__(self, tokens_per_byte: float = 0.3) -> None:
        self.tokens_per_byte = tokens_per_byte

    def __call__(self, texts: Sequence[str], query: str, longest: int, special: int) -> int:
        """Estimate the tokens of a query with each of the texts.

        Args:
            texts: documents.
            query: the query, read again with each document.
            longest: tokens that are computed for one document at most.
            special: tokens around the two.
        """
        own = min(int(size(query) * self.tokens_per_byte) + special, longest)
        ratio = self.tokens_per_byte
        return sum(min(int(size(text) * ratio) + own, longest) for text in texts)

    def learn(self, estimated: int, counted: int) -> None:
        """Move towards what a request turned out to hold."""
        if estimated > 0 and counted > 0:
            factor = min(max(counted / estimated, 0.5), 2.0)
            self.tokens_per_byte = min(max(self.tokens_per_byte * factor**0.1, 0.02), 2.0)


def size(text: str) -> int:
    """About the UTF-8 bytes of a text, without encoding it: beyond ASCII most of ours is Chinese, three bytes each."""
    return len(text) if text.isascii() else 3 * len(text)
