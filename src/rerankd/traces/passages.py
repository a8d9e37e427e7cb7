"""Texts of traces, deduplicated: each text is stored once, however often it is ranked."""

from __future__ import annotations

import time
import zlib
from collections.abc import Collection, Mapping

from sqlalchemy import Connection, insert, select, update

from rerankd.database.connection import batched
from rerankd.database.tables import passage, store

CACHE_SIZE = 100_000
SEEN_SECONDS = 3600.0
DEFLATE_BYTES = 256


class PassageStore:
    """Stores texts by content and gives each a number; numbers of recent texts are cached to save queries.

    Args:
        cache: cached numbers at most, about 200 bytes each.
    """

    def __init__(self, cache: int = CACHE_SIZE) -> None:
        self._size = cache
        self._cache: dict[bytes, tuple[int, float]] = {}
        self._erased = -1

    def save(
        self, connection: Connection, texts: Mapping[bytes, bytes], first: int, erased: int
    ) -> dict[bytes, tuple[int, float]]:
        """Insert the texts that are not stored yet; the transaction must hold the row of `trace_store`.

        Args:
            connection: connection of that transaction.
            texts: contents by SHA-256.
            first: next free number.
            erased: erasure counter of the store; a change means that texts were deleted, and empties the cache.

        Returns:
            Number and last-seen time of every text, for `remember` once the transaction is committed.
        """
        if erased != self._erased:
            self._cache.clear()
            self._erased = erased
        now = time.time()
        stored = {digest: entry for digest in texts if (entry := self._cache.get(digest)) is not None}
        for digests in batched([digest for digest in texts if digest not in stored]):
            rows = connection.execute(
                select(passage.c.hash, passage.c.id, passage.c.seen).where(passage.c.hash.in_(digests))
            )
            stored |= {bytes(digest): (number, seen) for digest, number, seen in rows}
        if stale := {number for number, seen in stored.values() if now - seen > SEEN_SECONDS}:
            for numbers in batched(list(stale)):
                connection.execute(update(passage).where(passage.c.id.in_(numbers)).values(seen=now))
            stored |= {digest: (number, now) for digest, (number, _) in stored.items() if number in stale}
        new = {digest: (number, now) for number, digest in enumerate(texts.keys() - stored.keys(), start=first)}
        if new:
            rows_to_insert = [_row(number, digest, texts[digest], now) for digest, (number, _) in new.items()]
            connection.execute(insert(passage), rows_to_insert)
            connection.execute(update(store).values(next_passage=first + len(new)))
        return stored | new

    def remember(self, numbers: Mapping[bytes, tuple[int, float]]) -> None:
        """Cache what `save` returned, after its transaction was committed."""
        self._cache |= numbers
        if (excess := len(self._cache) - self._size) > 0:
            for digest in list(self._cache)[: excess + self._size // 4]:
                del self._cache[digest]


def read_passages(connection: Connection, numbers: Collection[int]) -> dict[int, str]:
    """Return texts by number; erased texts are missing."""
    texts: dict[int, str] = {}
    for batch in batched(sorted(set(numbers))):
        rows = connection.execute(
            select(passage.c.id, passage.c.deflated, passage.c.data).where(passage.c.id.in_(batch))
        )
        for number, deflated, data in rows:
            texts[number] = (zlib.decompress(data) if deflated else bytes(data)).decode("utf-8", "surrogatepass")
    return texts


def _row(number: int, digest: bytes, text: bytes, now: float) -> dict[str, object]:
    compressed = zlib.compress(text, 6) if len(text) >= DEFLATE_BYTES else text
    deflated = len(compressed) < 0.9 * len(text)
    data = compressed if deflated else text
    return {"id": number, "hash": digest, "size": len(text), "deflated": deflated, "seen": now, "data": data}
