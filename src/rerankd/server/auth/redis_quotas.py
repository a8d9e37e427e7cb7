"""Quotas that several instances share through Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from rerankd._common.logging import logger
from rerankd._common.optional import require
from rerankd.errors import InvalidRequestError
from rerankd.server.auth.keys import LIMITS, ApiKey
from rerankd.server.auth.quotas import Quotas, limited, refusal, refuse_oversized

_log = logger(__name__)

# A correction is not checked. %.17g because Lua writes numbers with 14 digits; time needs more.
SCRIPT = """
local now, requests, tokens = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local rpm, tpm, rpd, tpd = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local checked = ARGV[8] == '1'
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
if checked then
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
    """Quota store that instances share; while Redis is out of reach, each instance counts for itself.

    Args:
        url: address, such as redis://host:6379/0.
        timeout: time limit of a call in seconds, connecting included.
        clock: monotonic clock in seconds.

    Raises:
        MissingDependencyError: the extra `redis` is not installed.
        InvalidRequestError: the address is not a Redis URL.
    """

    PAUSE = 1.0  # seconds between attempts after a failure, so that an outage does not slow every request
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
        self._fallback = Quotas()

    async def charge(self, key: ApiKey, tokens: int, now: float, *, requests: int = 1) -> None:
        """Charge as `Quotas.charge` does."""
        if not limited(key):
            return
        refuse_oversized(key, tokens, requests)
        reply = await self._run(key, now, requests=requests, tokens=tokens, checked=True)
        if reply is None:
            self._fallback.charge(key, tokens, now, requests=requests)
        elif reply[0]:
            raise refusal(key, LIMITS[reply[0] - 1], float(reply[1]))

    async def correct(self, key: ApiKey, delta_tokens: int, now: float) -> None:
        """Correct as `Quotas.correct` does."""
        if limited(key) and await self._run(key, now, requests=0, tokens=delta_tokens, checked=False) is None:
            self._fallback.correct(key, delta_tokens, now)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _run(self, key: ApiKey, now: float, *, requests: int, tokens: int, checked: bool) -> list[Any] | None:
        """Run the script; return None while Redis is out of reach."""
        if self._clock() < self._ask_at:
            return None
        limits = [getattr(key, limit) or 0 for limit in LIMITS]
        try:
            async with asyncio.timeout(self._timeout):
                reply: list[Any] = await self._script(
                    keys=[f"rerankd:quota:{key.tenant_id}"],
                    args=[repr(float(now)), requests, tokens, *limits, int(checked)],
                )
        except self._failures as error:
            self._failed(error)
            return None
        return reply

    def _failed(self, error: Exception) -> None:
        clock = self._clock()
        self._ask_at = clock + self.PAUSE
        if clock >= self._log_at:
            self._log_at = clock + self.LOG_EVERY
            _log.warning("Redis is unavailable for quotas (%s); this instance counts locally.", str(error) or "timeout")
