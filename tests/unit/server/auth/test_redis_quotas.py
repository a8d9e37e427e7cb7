"""Redis quotas without a Redis; `tests/integration/test_quotas_redis.py` has one."""

from __future__ import annotations

import logging
import socket

import pytest

from rerankd.errors import InvalidRequestError, RateLimitedError
from rerankd.server.auth.keys import ApiKey, new_key
from rerankd.server.auth.quotas import DAY, QuotaStore
from rerankd.server.auth.redis_quotas import RedisQuotas

NOON = 20_000 * DAY + DAY / 2


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def is_charged(quotas: QuotaStore, key: ApiKey) -> bool:
    try:
        await quotas.charge(key, 1, NOON)
    except RateLimitedError:
        return False
    return True


async def test_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    _, key = new_key("team", requests_per_minute=2)
    clock = Clock()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        quotas = RedisQuotas(f"redis://user:secret@127.0.0.1:{closed.getsockname()[1]}/0", clock=clock)
        with caplog.at_level(logging.WARNING, logger="rerankd"):
            for second, passes in [(0, True), (0.5, True), (30, False), (59, False)]:
                clock.now = second
                assert await is_charged(quotas, key) == passes, "its own count"
            assert len(caplog.records) == 1, "once a minute"
            clock.now = 60
            await quotas.correct(key, 5, NOON)
        assert len(caplog.records) == 2
        assert "secret" not in caplog.text
        await quotas.close()


def test_not_a_url() -> None:
    with pytest.raises(InvalidRequestError, match="redis_url is not a Redis URL") as caught:
        RedisQuotas("cache:secret@6379")
    assert "secret" not in str(caught.value)
