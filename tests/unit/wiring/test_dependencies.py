from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from rerankd.settings import load_settings
from rerankd.wiring.dependencies import (
    Dependency,
    DependencyMonitor,
    cache_warnings,
    open_dependencies,
    postgres_warnings,
    queue_warnings,
)


@pytest.mark.parametrize(
    ("info", "named"),
    [
        ({"maxmemory_policy": "noeviction", "aof_enabled": 1}, []),
        ({"maxmemory_policy": "allkeys-lru", "aof_enabled": 1}, ["allkeys-lru"]),
        ({"maxmemory_policy": "volatile-ttl", "aof_enabled": 0}, ["volatile-ttl", "appendonly"]),
        ({"maxmemory_policy": "noeviction", "aof_enabled": 0}, ["appendonly"]),
        ({}, []),
    ],
)
def test_a_redis_that_loses_jobs_is_named(info: dict[str, Any], named: list[str]) -> None:
    warnings = queue_warnings(info)
    assert len(warnings) == len(named)
    for warning, word in zip(warnings, named, strict=True):
        assert word in warning
        assert "queue_url" in warning


def test_a_redis_that_forgets_quotas_is_named() -> None:
    assert cache_warnings({"maxmemory_policy": "noeviction", "aof_enabled": 0}) == []
    (warning,) = cache_warnings({"maxmemory_policy": "allkeys-lfu"})
    assert "redis_url" in warning


@pytest.mark.parametrize("name", ["fsync", "synchronous_commit", "full_page_writes"])
def test_a_postgres_that_does_not_persist_is_named(name: str) -> None:
    safe = dict.fromkeys(["fsync", "synchronous_commit", "full_page_writes"], "on")
    assert postgres_warnings(safe) == []
    (warning,) = postgres_warnings(safe | {name: "off"})
    assert name in warning


def test_outages_and_warnings_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    down = True

    def check() -> Sequence[str]:
        if down:
            raise ConnectionError("redis://user:secret@host")
        return ["It evicts."]

    monitor = DependencyMonitor([Dependency("queue", check)])
    with caplog.at_level(logging.INFO, logger="rerankd"):
        for _ in range(3):
            monitor.poll()
        assert monitor.up == {"queue": False}
        down = False
        for _ in range(3):
            monitor.poll()
        assert monitor.up == {"queue": True}
    messages = [record.message for record in caplog.records]
    assert messages == ["queue cannot be reached (ConnectionError).", "queue can be reached again.", "It evicts."]


def test_each_redis_and_database_of_the_settings_is_asked() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        host = f"127.0.0.1:{closed.getsockname()[1]}"
        settings = load_settings(
            queue_url=f"redis://{host}/0", redis_url=f"redis://{host}/1", traces_url=f"postgresql://u:p@{host}/db"
        )
        monitor = open_dependencies(settings)
        monitor.poll()
    assert monitor.up == {"queue": False, "cache": False, "traces": False}
    assert open_dependencies(load_settings()).up == {}
