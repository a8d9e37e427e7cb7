"""Score cache, in this process or shared through Redis.

A key is a hash of the model's fingerprint, the truncation options, the tenant, the query and the document; a value is
the model's score. No text is stored.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any, Protocol

from rerankd._common.logging import logger
from rerankd._common.optional import require
from rerankd.errors import InvalidRequestError
from rerankd.scoring.encoder import TruncationOptions
from rerankd.types import PairScore

_log = logger(__name__)
_FORMAT = struct.Struct("<fI?H")
PREFIX = b"rerankd:score:"
PAUSE_SECONDS = 5.0
MAX_WRITES = 1000


class ScoreCache(Protocol):
    """Store of scores. It handles errors of its own: a score that cannot be read counts as a miss."""

    def get(self, keys: Sequence[bytes]) -> dict[bytes, PairScore]:
        """Return the scores that are cached, by key."""
        ...

    def put(self, scores: Mapping[bytes, PairScore]) -> None:
        """Store scores."""
        ...


def pair_keys(
    version: str, truncation: TruncationOptions, query: str, documents: Sequence[str], *, scope: str = ""
) -> list[bytes]:
    """Return the key of a query with each document, 16 bytes each.

    Args:
        version: fingerprint of the model.
        truncation: truncation of the pairs.
        query: the query.
        documents: the documents.
        scope: tenant whose pairs these are; empty for pairs that all tenants share.

    Example:
        >>> first, second, third = pair_keys("v1", TruncationOptions(512), "q", ["a", "b", "a"])
        >>> (first == third, first == second)
        (True, False)
    """
    head = blake2b(digest_size=16)
    # Lengths go in front of the texts, so that no two tuples give the same bytes.
    for part in (version, truncation.identity, scope, query):
        encoded = part.encode("utf-8", "surrogatepass")
        head.update(len(encoded).to_bytes(8, "little") + encoded)
    keys = []
    for document in documents:
        pair_hash = head.copy()
        pair_hash.update(document.encode("utf-8", "surrogatepass"))
        keys.append(pair_hash.digest())
    return keys


class MemoryCache:
    """Cache of the most recently used scores of this process (LRU). Thread-safe.

    Args:
        entries: scores at most, about 300 bytes each.

    Example:
        >>> cache = MemoryCache(1)
        >>> cache.put({b"k": PairScore(0.5, 3, False)})
        >>> cache.get([b"k"])[b"k"].raw_score
        0.5
    """

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._scores: OrderedDict[bytes, PairScore] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, PairScore]:
        """Return the scores that are cached; they become the most recently used."""
        scores = {}
        with self._lock:
            for key in keys:
                if (score := self._scores.get(key)) is not None:
                    self._scores.move_to_end(key)
                    scores[key] = score
        return scores

    def put(self, scores: Mapping[bytes, PairScore]) -> None:
        """Store scores; the least recently used are evicted."""
        with self._lock:
            self._scores.update(scores)
            for key in scores:
                self._scores.move_to_end(key)
            while len(self._scores) > self._entries:
                self._scores.popitem(last=False)


class RedisCache:
    """Cache shared by instances through Redis.

    After an error it is not used for five seconds; requests go on without it.

    Args:
        url: `redis://host:port/0`.
        seconds: time to live of a score.
        clock: monotonic seconds.

    Raises:
        MissingDependencyError: the package redis is not installed.
        InvalidRequestError: `url` is not a Redis URL.
    """

    def __init__(self, url: str, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        redis = require("redis", "redis", "Sharing scores")
        try:
            self._redis: Any = redis.Redis.from_url(url, socket_timeout=0.25, socket_connect_timeout=0.25)
        except ValueError as error:  # its text may hold the password
            raise InvalidRequestError(
                "Setting redis_url is not a Redis URL.", hint="It looks like redis://host:6379/0."
            ) from error
        self._errors: type[Exception] = redis.RedisError
        self._seconds, self._clock = max(1, int(seconds)), clock
        self._paused_until = 0.0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="redis")
        self._writing = 0

    def get(self, keys: Sequence[bytes]) -> dict[bytes, PairScore]:
        """Return the scores that are cached; none while Redis does not answer."""
        if not keys:
            return {}
        values = self._try(lambda: self._redis.mget([PREFIX + key for key in keys])) or [None] * len(keys)
        return {
            key: PairScore(*_FORMAT.unpack(value))
            for key, value in zip(keys, values, strict=True)
            if value is not None and len(value) == _FORMAT.size
        }

    def put(self, scores: Mapping[bytes, PairScore]) -> None:
        """Store scores in the background, so that nothing waits for Redis."""
        if scores and self._writing < MAX_WRITES:
            self._writing += 1
            self._writer.submit(self._write, dict(scores))

    def flush(self) -> None:
        """Wait until everything was written."""
        self._writer.submit(lambda: None).result()

    def _write(self, scores: Mapping[bytes, PairScore]) -> None:
        self._writing -= 1
        pipe = self._redis.pipeline(transaction=False)
        for key, score in scores.items():
            value = _FORMAT.pack(score.raw_score, score.tokens, score.truncated, min(score.chunks, 65535))
            pipe.set(PREFIX + key, value, ex=self._seconds)
        self._try(pipe.execute)

    def _try(self, call: Callable[[], Any]) -> Any:
        if self._clock() < self._paused_until:
            return None
        try:
            return call()
        except self._errors as error:
            self._paused_until = self._clock() + PAUSE_SECONDS
            _log.warning(
                "Redis does not answer (%s); scores are not shared for %d s", type(error).__name__, PAUSE_SECONDS
            )
            return None


class LayeredCache:
    """Near cache in front of a far one; scores of the far one are copied to the near one."""

    def __init__(self, near: ScoreCache, far: ScoreCache) -> None:
        self._near, self._far = near, far

    def get(self, keys: Sequence[bytes]) -> dict[bytes, PairScore]:
        """Return the scores that either cache has."""
        near = self._near.get(keys)
        far = self._far.get([key for key in keys if key not in near])
        self._near.put(far)
        return near | far

    def put(self, scores: Mapping[bytes, PairScore]) -> None:
        """Store scores in both."""
        self._near.put(scores)
        self._far.put(scores)
