"""Redis servers and databases that a process depends on: do they answer, and do they keep what they are given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rerankd._common.logging import logger
from rerankd._common.optional import require
from rerankd.settings import Settings

POLL_SECONDS = 10.0
CONNECT_SECONDS = 3.0

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Dependency:
    """A server that a process depends on.

    Attributes:
        name: name in metrics: `queue`, `cache` or `traces`.
        check: connects, and returns the warnings about its configuration; raises if it does not answer.
    """

    name: str
    check: Callable[[], Sequence[str]]


class DependencyMonitor:
    """Asks the servers in a thread of its own, so that nothing waits for them.

    What a server's configuration would lose is logged once, when it first answers.

    Args:
        dependencies: the servers.
        interval: seconds between two rounds.

    Example:
        >>> monitor = DependencyMonitor([Dependency("queue", lambda: [])])
        >>> monitor.poll()
        >>> monitor.up
        {'queue': True}
    """

    def __init__(self, dependencies: Sequence[Dependency], interval: float = POLL_SECONDS) -> None:
        self._dependencies, self._interval = tuple(dependencies), interval
        self._up: dict[str, bool] = {}
        self._checked: set[str] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def up(self) -> Mapping[str, bool]:
        """True for each server that answered when it was asked last."""
        return dict(self._up)

    def start(self) -> None:
        """Start the thread, if there is a server to ask."""
        if self._dependencies and self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="dependencies", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CONNECT_SECONDS * 2)

    def poll(self) -> None:
        """Ask every server once."""
        for dependency in self._dependencies:
            try:
                warnings = dependency.check()
            except Exception as error:  # of any driver; its text may hold a password
                if self._up.get(dependency.name, True):
                    _log.warning("%s cannot be reached (%s).", dependency.name, type(error).__name__)
                self._up[dependency.name] = False
                continue
            if self._up.get(dependency.name) is False:
                _log.info("%s can be reached again.", dependency.name)
            self._up[dependency.name] = True
            if dependency.name not in self._checked:
                self._checked.add(dependency.name)
                for warning in warnings:
                    _log.warning("%s", warning)

    def _watch(self) -> None:
        self.poll()
        while not self._stop.wait(self._interval):
            self.poll()


def open_dependencies(settings: Settings) -> DependencyMonitor:
    """Return the monitor of the servers that the settings name, not started yet.

    Raises:
        MissingDependencyError: the driver of a server is not installed.
    """
    dependencies = []
    if settings.queue_url:
        url = settings.queue_url
        require("redis", "queue", "The job queue")
        dependencies.append(Dependency("queue", lambda: queue_warnings(_redis_info(url))))
    if settings.redis_url:
        cache = settings.redis_url
        require("redis", "redis", "Sharing scores")
        dependencies.append(Dependency("cache", lambda: cache_warnings(_redis_info(cache))))
    if settings.traces and settings.traces_url and settings.traces_url.startswith("postgres"):
        database = settings.traces_url
        require("psycopg", "postgres", "Keeping traces in PostgreSQL")
        dependencies.append(Dependency("traces", lambda: postgres_warnings(_postgres_settings(database))))
    return DependencyMonitor(dependencies)


def queue_warnings(info: Mapping[str, Any]) -> list[str]:
    """Return what a Redis server would lose of jobs.

    Args:
        info: answer of its command INFO.

    Example:
        >>> queue_warnings({"maxmemory_policy": "noeviction", "aof_enabled": 1})
        []
    """
    warnings = []
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        warnings.append(
            f"The Redis of queue_url evicts keys (maxmemory-policy {policy}): jobs can vanish. Set noeviction."
        )
    if not info.get("aof_enabled", 1):
        warnings.append(
            "The Redis of queue_url does not persist what it accepts (appendonly no): a restart loses jobs. Set "
            "appendonly yes."
        )
    return warnings


def cache_warnings(info: Mapping[str, Any]) -> list[str]:
    """Return what a Redis server would lose of quotas; scores may be evicted.

    Args:
        info: answer of its command INFO.

    Example:
        >>> cache_warnings({"maxmemory_policy": "volatile-lru"})
        ['The Redis of redis_url evicts keys (maxmemory-policy volatile-lru): quota counters can restart from zero.']
    """
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return []
    return [f"The Redis of redis_url evicts keys (maxmemory-policy {policy}): quota counters can restart from zero."]


def postgres_warnings(configuration: Mapping[str, str]) -> list[str]:
    """Return what a PostgreSQL server would lose of traces.

    Args:
        configuration: its settings.

    Example:
        >>> postgres_warnings({"fsync": "off"})
        ['The PostgreSQL of traces_url has fsync off: a crash loses or damages traces. Set it to on.']
    """
    effects = {
        "fsync": "a crash loses or damages traces",
        "full_page_writes": "a crash can damage traces",
        "synchronous_commit": "a crash loses the last traces",
    }
    return [
        f"The PostgreSQL of traces_url has {name} off: {effect}. Set it to on."
        for name, effect in effects.items()
        if configuration.get(name) == "off"
    ]


def _redis_info(url: str) -> Mapping[str, Any]:
    redis = require("redis", "redis", "Redis")
    with redis.Redis.from_url(url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS) as client:
        info: dict[str, Any] = {**client.info("memory"), **client.info("persistence")}
    return info


def _postgres_settings(url: str) -> Mapping[str, str]:
    psycopg = require("psycopg", "postgres", "PostgreSQL")
    with psycopg.connect(url, connect_timeout=int(CONNECT_SECONDS)) as connection:
        names = ["fsync", "full_page_writes", "synchronous_commit"]
        rows = connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (names,)).fetchall()
        return dict(rows)
