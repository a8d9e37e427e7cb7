"""Rate limits and quotas of API keys: token buckets per minute, fixed windows per UTC day.

`Quotas` is the pure core; the time is an argument. `MemoryQuotas` here and `RedisQuotas` in `redis_quotas` are the
stores of a service; keys of one tenant share one count. The Lua script of the latter repeats the core, so that
instances share one count; a test checks that both agree.

A bucket stores what is in use, not what is left: a key that has used nothing needs no entry, and a changed limit
applies at once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from rerankd.errors import PermissionDeniedError, RateLimitedError
from rerankd.server.auth.keys import LIMITS, ApiKey

DAY = 86_400
MARGIN = 0.001  # added to retry_after: seconds since 1970 are only exact to a quarter of a microsecond


class QuotaStore(Protocol):
    """Store of the usage of keys. `tokens` is an estimate that `correct` settles; `now` is in seconds since 1970."""

    async def charge(self, key: ApiKey, tokens: int, now: float, *, requests: int = 1) -> None:
        """Count one request, or raise as `Quotas.charge` does."""

    async def correct(self, key: ApiKey, delta_tokens: int, now: float) -> None:
        """Add the computed minus the estimated tokens."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(slots=True)
class _Use:
    at: float = 0.0
    day: int = 0
    requests: float = 0.0
    tokens: float = 0.0
    requests_today: int = 0
    tokens_today: int = 0


class Quotas:
    """Usage of keys in memory; every call takes constant time.

    Args:
        max_keys: maximum number of keys; the least recently used is evicted.

    Example:
        >>> quotas, key = Quotas(), ApiKey("team", "team", "0" * 64, requests_per_minute=1)
        >>> quotas.charge(key, 100, now=0.0)
        >>> quotas.charge(key, 100, now=15.0)
        Traceback (most recent call last):
        ...
        rerankd.errors.RateLimitedError: Key team has used up its requests_per_minute (1). Wait 45.0 seconds.
    """

    def __init__(self, max_keys: int = 10_000) -> None:
        self._uses: OrderedDict[str, _Use] = OrderedDict()
        self._max_keys = max_keys

    def charge(self, key: ApiKey, tokens: int, now: float, *, requests: int = 1) -> None:
        """Count one request and its tokens, or neither.

        A request larger than a minute's tokens passes when the bucket is full, and leaves a debt.

        Args:
            key: key of the request.
            tokens: tokens of the request.
            now: time in seconds since 1970.
            requests: requests that it counts as: 1, or 0 for the tokens of a request that is counted already.

        Raises:
            RateLimitedError: a limit is reached; after `retry_after` seconds the same request passes.
            PermissionDeniedError: the request alone is larger than a day's tokens, or counts for more than a day's
                requests.
        """
        if not limited(key):
            return
        refuse_oversized(key, tokens, requests)
        use = self._use(key, now)
        behind = use.at - now  # more than 0 after the clock was set back
        tomorrow = (use.day + 1) * DAY - now
        waits = (
            _wait(use.requests, requests, key.requests_per_minute, behind),
            _wait(use.tokens, tokens, key.tokens_per_minute, behind),
            tomorrow if key.requests_per_day and use.requests_today + requests > key.requests_per_day else 0.0,
            tomorrow if key.tokens_per_day and use.tokens_today + tokens > key.tokens_per_day else 0.0,
        )
        longest = max(waits)
        if longest > 0:
            raise refusal(key, LIMITS[waits.index(longest)], longest)
        use.requests += requests
        use.requests_today += requests
        _add(use, tokens)

    def correct(self, key: ApiKey, delta_tokens: int, now: float) -> None:
        """Add the computed minus the estimated tokens; usage may exceed the limits, and later requests then wait."""
        if limited(key):
            _add(self._use(key, now), delta_tokens)

    def _use(self, key: ApiKey, now: float) -> _Use:
        """Return the key's usage at `now`: minute buckets drained, day counts reset at midnight UTC."""
        use = self._uses.setdefault(key.tenant_id, _Use())
        self._uses.move_to_end(key.tenant_id)
        if len(self._uses) > self._max_keys:
            self._uses.popitem(last=False)
        elapsed = max(0.0, now - use.at)
        use.at = max(use.at, now)
        use.requests = _drained(use.requests, key.requests_per_minute, elapsed)
        use.tokens = _drained(use.tokens, key.tokens_per_minute, elapsed)
        if int(now // DAY) > use.day:
            use.day, use.requests_today, use.tokens_today = int(now // DAY), 0, 0
        return use


def limited(key: ApiKey) -> bool:
    """Return True if the key has a limit."""
    return any(getattr(key, limit) for limit in LIMITS)


def refuse_oversized(key: ApiKey, tokens: int, requests: int = 1) -> None:
    """Refuse a request that can never pass.

    Raises:
        PermissionDeniedError: the request alone is larger than a day's tokens, or counts for more than a day's
            requests.
    """
    if key.requests_per_day and requests > key.requests_per_day:
        raise PermissionDeniedError(
            f"This counts as {requests} requests; requests_per_day of key {key.name} is {key.requests_per_day}.",
            hint="Send fewer rankings in one request, or ask for a larger quota.",
        )
    if key.tokens_per_day and tokens > key.tokens_per_day:
        raise PermissionDeniedError(
            f"This request has about {tokens} tokens; tokens_per_day of key {key.name} is {key.tokens_per_day}.",
            hint="Send fewer or shorter documents, or ask for a larger quota.",
        )


def refusal(key: ApiKey, limit: str, wait: float) -> RateLimitedError:
    """Return the error that names the limit and the time to wait."""
    return RateLimitedError(
        f"Key {key.name} has used up its {limit} ({getattr(key, limit)}).",
        hint=f"Wait {wait:.1f} seconds.",
        retry_after=wait + MARGIN,
    )


def _drained(used: float, limit: int | None, seconds: float) -> float:
    return max(0.0, used - seconds * limit / 60) if limit else 0.0


def _wait(used: float, requested: int, limit: int | None, behind: float) -> float:
    if not limit:
        return 0.0
    excess = used + min(requested, limit) - limit
    return excess * 60 / limit + behind if excess > 0 else 0.0


def _add(use: _Use, tokens: int) -> None:
    # Not below 0: a refund for yesterday's requests is no credit for today.
    use.tokens = max(0.0, use.tokens + tokens)
    use.tokens_today = max(0, use.tokens_today + tokens)


class MemoryQuotas:
    """Quota store of one process."""

    def __init__(self) -> None:
        self._quotas = Quotas()

    async def charge(self, key: ApiKey, tokens: int, now: float, *, requests: int = 1) -> None:
        """Charge as `Quotas.charge` does."""
        self._quotas.charge(key, tokens, now, requests=requests)

    async def correct(self, key: ApiKey, delta_tokens: int, now: float) -> None:
        """Correct as `Quotas.correct` does."""
        self._quotas.correct(key, delta_tokens, now)

    async def close(self) -> None:
        """Do nothing: no connection is open."""
