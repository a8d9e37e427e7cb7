"""Quotas in a real Redis: the script counts like the core, instances share, an outage does not stop requests."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import asyncio as redis

from rerankd.errors import PermissionDeniedError, RateLimitedError
from rerankd.server.auth.keys import ApiKey, new_key
from rerankd.server.auth.quotas import DAY, MemoryQuotas, QuotaStore
from rerankd.server.auth.redis_quotas import RedisQuotas

NOON = 20_000 * DAY + DAY / 2
PATIENT = 10.0  # seconds; a busy test machine is not an outage


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def refused(quotas: QuotaStore, key: ApiKey, tokens: int, now: float) -> RateLimitedError | None:
    try:
        await quotas.charge(key, tokens, now)
    except RateLimitedError as error:
        return error
    return None


limits = st.fixed_dictionaries(
    {},
    optional={
        "requests_per_minute": st.integers(1, 5),
        "tokens_per_minute": st.integers(1, 500),
        "requests_per_day": st.integers(1, 20),
        "tokens_per_day": st.integers(500, 2000),
    },
)
steps = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 90), st.sampled_from([0.0, DAY / 2, -30.0])), st.integers(0, 500), st.integers(-50, 50)
    ),
    min_size=1,
    max_size=15,
)


@settings(max_examples=40, deadline=None)
@given(limits, steps, st.floats(1e9, 3e9))
def test_the_script_counts_like_the_core(
    redis_url: str, limits: dict[str, Any], steps: list[tuple[float, int, int]], now: float
) -> None:
    _, key = new_key("team", **limits)

    async def compare() -> None:
        moment, memory, shared = now, MemoryQuotas(), RedisQuotas(redis_url, timeout=PATIENT)
        try:
            for pause, tokens, delta in steps:
                moment += pause
                ours, theirs = await refused(memory, key, tokens, moment), await refused(shared, key, tokens, moment)
                assert repr(ours) == repr(theirs)
                assert getattr(ours, "retry_after", 0) == getattr(theirs, "retry_after", 0)
                await memory.correct(key, delta, moment)
                await shared.correct(key, delta, moment)
            assert not shared._fallback._uses, "Redis answered every time"
        finally:
            await shared.close()

    asyncio.run(compare())


async def test_instances_share_one_count(redis_url: str) -> None:
    _, key = new_key("team", requests_per_day=50)
    instances = [RedisQuotas(redis_url, timeout=PATIENT) for _ in range(4)]
    refusals = await asyncio.gather(*(refused(instances[n % 4], key, 1, NOON) for n in range(80)))
    assert sum(error is None for error in refusals) == 50
    for quotas in instances:
        await quotas.close()


async def test_oversized_requests_and_retry_after(redis_url: str) -> None:
    _, key = new_key("team", tokens_per_minute=100, tokens_per_day=1000)
    quotas = RedisQuotas(redis_url, timeout=PATIENT)
    with pytest.raises(PermissionDeniedError):
        await quotas.charge(key, 1001, NOON)
    await quotas.charge(key, 300, NOON)
    error = await refused(quotas, key, 300, NOON)
    assert error
    assert await refused(quotas, key, 300, NOON + error.retry_after - 0.01)
    await quotas.charge(key, 300, NOON + error.retry_after)
    await quotas.close()


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [({"requests_per_minute": 1}, 60), ({"tokens_per_minute": 10}, 300), ({"tokens_per_day": 100}, DAY / 2)],
)
async def test_keys_expire_when_they_say_nothing_any_more(
    redis_url: str, limits: dict[str, Any], seconds: float
) -> None:
    _, key = new_key("team", **limits)
    quotas, client = RedisQuotas(redis_url, timeout=PATIENT), redis.from_url(redis_url)
    await quotas.charge(key, 50, NOON)
    left = await client.ttl(f"rerankd:quota:{key.id}")
    assert seconds <= left <= math.ceil(seconds) + 60
    await client.aclose()
    await quotas.close()


async def test_unlimited_keys_are_not_asked_for(redis_url: str) -> None:
    _, key = new_key("team")
    quotas, client = RedisQuotas(redis_url, timeout=PATIENT), redis.from_url(redis_url)
    await quotas.charge(key, 50, NOON)
    await quotas.correct(key, 50, NOON)
    assert not await client.exists(f"rerankd:quota:{key.id}")
    await client.aclose()
    await quotas.close()


async def test_redis_hangs_and_comes_back(redis_url: str) -> None:
    _, key = new_key("team", requests_per_day=2)
    clock = Clock()
    quotas = RedisQuotas(redis_url, timeout=1.0, clock=clock)
    client = redis.from_url(redis_url)
    await client.client_pause(60_000, all=False)  # commands that write wait
    try:
        started = asyncio.get_running_loop().time()
        await quotas.charge(key, 1, NOON)
        await quotas.charge(key, 1, NOON)
        assert await refused(quotas, key, 1, NOON)
        assert asyncio.get_running_loop().time() - started < 5, "one short wait, then no waiting"
    finally:
        await client.client_unpause()
    # The request that timed out may have been counted after all.
    field = f"rerankd:quota:{key.id}", "requests_today"
    before = int(await client.hget(*field) or 0)
    clock.now = 1.0
    await quotas.charge(key, 1, NOON)
    assert int(await client.hget(*field) or 0) == before + 1
    await quotas.close()
    await client.aclose()
