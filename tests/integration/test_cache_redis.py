"""The score cache in Redis: alone, and shared by instances."""

from __future__ import annotations

import httpx
import redis

from rerankd.engine.cache import PAUSE_SECONDS, PREFIX, RedisCache
from rerankd.types import PairScore
from tests.integration.serving import metric, serve

SCORE = PairScore(-1.25, 37, True, 3)


def test_scores_come_back_and_expire(redis_url: str) -> None:
    cache = RedisCache(redis_url, 60)
    cache.put({b"k" * 16: SCORE})
    cache.flush()
    assert cache.get([b"k" * 16, b"x" * 16]) == {b"k" * 16: SCORE}
    assert cache.get([]) == {}
    cache.put({})
    with redis.Redis.from_url(redis_url) as client:
        assert 0 < int(client.ttl(PREFIX + b"k" * 16)) <= 60


def test_what_somebody_else_wrote_is_not_a_score(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(PREFIX + b"odd", b"not ours")
    assert RedisCache(redis_url, 60).get([b"odd"]) == {}


def test_a_redis_that_fails_is_left_alone_for_a_while() -> None:
    now = [0.0]
    cache = RedisCache("redis://127.0.0.1:1/0", 60, clock=lambda: now[0])
    assert cache.get([b"a"]) == {}
    assert cache._paused_until == PAUSE_SECONDS
    cache.put({b"a": SCORE})
    cache.flush()
    now[0] = PAUSE_SECONDS
    assert cache.get([b"a"]) == {}
    assert cache._paused_until == 2 * PAUSE_SECONDS


def rerank(url: str, **fields: object) -> httpx.Response:
    body = {"query": "what does a panda eat?", "documents": ["bamboo", "a car"]}
    return httpx.post(f"{url}/v1/rerank", json=body | fields, timeout=30)


def test_scores_are_shared_through_redis_by_instances(redis_url: str) -> None:
    env = {"RERANKD_REDIS_URL": redis_url}
    with serve(env=env) as first, serve(env=env) as second:
        responses = [rerank(served.url) for served in (first, second)]
        assert responses[0].json()["results"] == responses[1].json()["results"]
        assert metric(second.url, "rerankd_cache_hits_total") == 2
        assert rerank(second.url, cache=False).status_code == 200
        assert metric(second.url, "rerankd_cache_hits_total") == 2


def test_a_redis_that_is_gone_costs_nothing_but_sharing() -> None:
    with serve(env={"RERANKD_REDIS_URL": "redis://127.0.0.1:1/0"}) as served:
        assert rerank(served.url).status_code == 200
        assert rerank(served.url).status_code == 200
