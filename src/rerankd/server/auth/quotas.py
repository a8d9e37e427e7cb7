"""What a key may use: token buckets per minute, windows per UTC day.

`Quotas` is the pure core; the time is an argument. `MemoryQuotas` and `RedisQuotas` are what the service holds, both a
`QuotaStore`. The Lua script is the core once more, so that instances share one count; a test holds the two together.

A bucket is kept as what is in use, not as what is left: a key that has used nothing needs no entry, and a limit that
is changed applies at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from rerankd._common.logging import logger
from rerankd._common.optional import require
from rerankd.errors import InvalidRequestError, PermissionDeniedError, RateLimitedError
from rerankd.server.auth.keys import LIMITS, ApiKey

DAY = 86_400
MARGIN = 0.001  # added to retry_after: seconds since 1970 are only exact to a quarter of a microsecond

log = logger(__name__)


class QuotaStore(Protocol):
    """Where use is counted. `tokens` is an estimate that `correct` settles; `now` is in seconds since 1970."""

    async def charge(self, key: ApiKey, tokens: int, now: float) -> None:
        """Count one request, or raise what `Quotas.charge` raises."""

    async def correct(self, key: ApiKey, delta_tokens: int, now: float) -> None:
        """Add real minus estimated tokens."""

    async def close(self) -> None:
        """Let connections go."""


@dataclass(slots=True)
class _Use:
    at: float = 0.0
    day: int = 0
    requests: float = 0.0
    tokens: float = 0.0
    requests_today: int = 0
    tokens_today: int = 0


class Quotas:
    """Counts in memory; every call takes constant time.

    Args:
        max_keys: keys remembered at most; the longest unused is forgotten first.

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

    def charge(self, key: ApiKey, tokens: int, now: float) -> None:
        """Count one request and its tokens, or neither.

        A request larger than a minute's tokens passes when the bucket is full, and leaves a debt.

        Raises:
            RateLimitedError: a limit is reached; after `retry_after` seconds the same request passes.
            PermissionDeniedError: the request alone is larger than a day's tokens.
        """
        if not limited(key):
            return
        refuse_oversized(key, tokens)
        use = self._use(key, now)
        behind = use.at - now  # more than 0 after the clock was set back
        tomorrow = (use.day + 1) * DAY - now
        waits = (
            _wait(use.requests, 1, key.requests_per_minute, behind),
            _wait(use.tokens, tokens, key.tokens_per_minute, behind),
            tomorrow if key.requests_per_day and use.requests_today + 1 > key.requests_per_day else 0.0,
            tomorrow if key.tokens_per_day and use.tokens_today + tokens > key.tokens_per_day else 0.0,
        )
        longest = max(waits)
        if longest > 0:
            raise refusal(key, LIMITS[waits.index(longest)], longest)
        use.requests += 1
        use.requests_today += 1
        _add(use, tokens)

    def correct(self, key: ApiKey, delta_tokens: int, now: float) -> None:
        """Add real minus estimated tokens; use may pass the limits, and later requests then wait."""
        if limited(key):
            _add(self._use(key, now), delta_tokens)

    def _use(self, key: ApiKey, now: float) -> _Use:
        """The key's use as it is at `now`."""
        use = self._uses.setdefault(key.id, _Use())
        self._uses.move_to_end(key.id)
        if len(self._uses) > self._max_keys:
            self._uses.popitem(last=False)
        passed = max(0.0, now - use.at)
        use.at = max(use.at, now)
        use.requests = _drained(use.requests, key.requests_per_minute, passed)
        use.tokens = _drained(use.tokens, key.tokens_per_minute, passed)
        if int(now // DAY) > use.day:
            use.day, use.requests_today, use.tokens_today = int(now // DAY), 0, 0
        return use


def limited(key: ApiKey) -> bool:
    """Whether the key has any limit."""
    return any(getattr(key, limit) for limit in LIMITS)


def refuse_oversized(key: ApiKey, tokens: int) -> None:
    """Refuse what no waiting helps.

    Raises:
        PermissionDeniedError: it alone is larger than a day's tokens.
    """
    if key.tokens_per_day and tokens > key.tokens_per_day:
        raise PermissionDeniedError(
            f"This request has about {tokens} tokens; tokens_per_day of key {key.name} is {key.tokens_per_day}.",
            hint="Send fewer or shorter documents, or ask for a larger quota.",
        )


def refusal(key: ApiKey, limit: str, wait: float) -> RateLimitedError:
    """The error that says which limit was reached, and when to come back."""
    return RateLimitedError(
        f"Key {key.name} has used up its {limit} ({getattr(key, limit)}).",
        hint=f"Wait {wait:.1f} seconds.",
        retry_after=wait + MARGIN,
    )


def _drained(used: float, limit: int | None, seconds: float) -> float:
    return max(0.0, used - seconds * limit / 60) if limit else 0.0


def _wait(used: float, wanted: int, limit: int | None, behind: float) -> float:
    if not limit:
        return 0.0
    excess = used + min(wanted, limit) - limit
    return excess * 60 / limit + behind if excess > 0 else 0.0


def _add(use: _Use, tokens: int) -> None:
    # Not below 0: what yesterday's requests give back is no credit for today.
    use.tokens = max(0.0, use.tokens + tokens)
    use.tokens_today = max(0, use.tokens_today + tokens)


class MemoryQuotas:
    """Quotas of one process."""

    def __init__(self) -> None:
        self._quotas = Quotas()

    async def charge(self, key: ApiKey, tokens: int, now: float) -> None:
        """See `Quotas.charge`."""
        self._quotas.charge(key, tokens, now)

    async def correct(self, key: ApiKey, delta_tokens: int, now: float) -> None:
        """See `Quotas.correct`."""
        self._quotas.correct(key, delta_tokens, now)

    async def close(self) -> None:
        """Nothing is open."""


# A correction has no request and is not checked. %.17g because Lua writes numbers with 14 digits; time needs more.
SCRIPT = """
local now, requests, tokens = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local rpm, tpm, rpd, tpd = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local use = redis.call('HMGET', KEYS[1], 'at', 'day', 'requests', 'tokens', 'requests_today', 'tokens_today')
for i = 1, 6 do use[i] = tonumber(use[i] or 0) end
local at, day, r, t, r_today, t_today = unpack(use)
local function drained(used, limit, seconds)
  return limit > 0 and math.max(0, used - seconds * limit / 60) or 0
end
local function wait(used, wanted, limit)
  local excess = used + math.min(wanted, limit) - limit
  return limit > 0 and excess > 0 and excess * 60 / limit + (at - now) or 0
end
local passed, today = math.max(0, now - at), math.floor(now / 86400)
at = math.max(at, now)
r, t = drained(r, rpm, passed), drained(t, tpm, passed)
if today > day then day, r_today, t_today = today, 0, 0 end
local tomorrow = (day + 1) * 86400 - now
if requests > 0 then
  local waits = {
    wait(r, requests, rpm),
    wait(t, tokens, tpm),
    rpd > 0 and r_today + requests > rpd and tomorrow or 0,
    tpd > 0 and t_today + tokens > tpd and tomorrow or 0,
  }
  local longest = 1
  for i = 2, 4 do if waits[i] > waits[longest] then longest = i end end
  if waits[longest] > 0 then return {longest, string.format('%.17g', waits[longest])} end
end
r, r_today = r + requests, r_today + requests
t, t_today = math.max(0, t + tokens), math.max(0, t_today + tokens)
local function text(number) return string.format('%.17g', number) end
redis.call('HSET', KEYS[1], 'at', text(at), 'day', text(day), 'requests', text(r), 'tokens', text(t),
  'requests_today', text(r_today), 'tokens_today', text(t_today))
local keep = math.max(rpm > 0 and r * 60 / rpm or 0, tpm > 0 and t * 60 / tpm or 0, (rpd + tpd) > 0 and tomorrow or 0)
redis.call('EXPIRE', KEYS[1], math.ceil(keep + at - now) + 60)
return {0, '0'}
"""


class RedisQuotas:
    """Quotas that instances share; while Redis does not answer, each instance counts for itself.

    Args:
        url: such as redis://host:6379/0.
        timeout: seconds that Redis may take, connecting included.
        clock: seconds that only grow.

    Raises:
        MissingDependencyError: the extra `redis` is not installed.
        InvalidRequestError: not a Redis URL.
    """

    PAUSE = 1.0  # seconds without asking Redis after it failed, so that an outage does not slow every request
    LOG_EVERY = 60.0

    def __init__(self, url: str, *, timeout: float = 0.25, clock: Callable[[], float] = time.monotonic) -> None:
        redis = require("redis.asyncio", "redis", "Sharing quotas")
        retry = require("redis.asyncio.retry", "redis", "Sharing quotas")
        backoff = require("redis.backoff", "redis", "Sharing quotas")
        try:
            self._client: Any = redis.from_url(
                url,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                # A script that timed out may have run: asking again would count the request twice.
                retry=retry.Retry(backoff.NoBackoff(), 0),
            )
        except ValueError as error:  # its text may hold the password
            raise InvalidRequestError(
                "Setting redis_url is not a Redis URL.", hint="It looks like redis://host:6379/0."
            ) from error
        self._script = self._client.register_script(SCRIPT)
        self._failures = (redis.RedisError, OSError, TimeoutError)
        self._timeout = timeout
        self._clock = clock
        self._ask_at = self._log_at = clock()
        self._own = Quotas()

    async def charge(self, key: ApiKey, tokens: int, now: float) -> None:
        """See `Quotas.charge`."""
        if not limited(key):
            return
        refuse_oversized(key, tokens)
        answer = await self._run(key, now, requests=1, tokens=tokens)
        if answer is None:
            self._own.charge(key, tokens, now)
        elif answer[0]:
            raise refusal(key, LIMITS[answer[0] - 1], float(answer[1]))

    async def correct(self, key: ApiKey, delta_tokens: int, now: float) -> None:
        """See `Quotas.correct`."""
        if limited(key) and await self._run(key, now, requests=0, tokens=delta_tokens) is None:
            self._own.correct(key, delta_tokens, now)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _run(self, key: ApiKey, now: float, *, requests: int, tokens: int) -> list[Any] | None:
        """The script's answer, or None while Redis gives none."""
        if self._clock() < self._ask_at:
            return None
        limits = [getattr(key, limit) or 0 for limit in LIMITS]
        try:
            async with asyncio.timeout(self._timeout):
                answer: list[Any] = await self._script(
                    keys=[f"rerankd:quota:{key.id}"], args=[repr(float(now)), requests, tokens, *limits]
                )
        except self._failures as error:
            self._failed(error)
            return None
        return answer

    def _failed(self, error: Exception) -> None:
        clock = self._clock()
        self._ask_at = clock + self.PAUSE
        if clock >= self._log_at:
            self._log_at = clock + self.LOG_EVERY
            log.warning("Redis cannot count quotas (%s); this instance counts for itself.", str(error) or "timeout")
