"""Texts by content: each is kept once, however often it is ranked."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Connection, insert, select, update

from rerankd.database.tables import passage, store

KNOWN = 100_000
SEEN_SECONDS = 3600.0
DEFLATE_BYTES = 256
AT_ONCE = 500
T = TypeVar("T")


def encoded(text: str) -> bytes:
    """A text as it is hashed and kept.

    Example:
        >>> encoded("é").hex()
        'c3a9'
    """
    return text.encode("utf-8", "surrogatepass")


def text_hash(text: str) -> str:
    """The SHA-256 under which a text is kept, in hexadecimal.

    Example:
        >>> text_hash("panda")[:8]
        'a7cdf5d0'
    """
    return hashlib.sha256(encoded(text)).hexdigest()


def slices(items: Sequence[T], size: int = AT_ONCE) -> Iterator[Sequence[T]]:
    """Items in pieces that a statement can hold.

    Example:
        >>> [len(piece) for piece in slices(range(5), 2)]
        [2, 2, 1]
    """
    return (items[start : start + size] for start in range(0, len(items), size))


class Texts:
    """Gives texts their numbers; remembers those of late, so that most are not asked for.

    Args:
        known: how many are remembered, some 200 bytes each.
    """

    def __init__(self, known: int = KNOWN) -> None:
        self._size = known
        self._known: dict[bytes, tuple[int, float]] = {}
        self._erased = -1

    def keep(
        self, connection: Connection, texts: Mapping[bytes, bytes], first: int, erased: int
    ) -> dict[bytes, tuple[int, float]]:
        """Write those that are not there yet, in a transaction that holds the row of `trace_store`.

        Args:
            connection: in that transaction.
            texts: by their SHA-256.
            first: the next free number.
            erased: of the store; whoever deletes texts raises it, and what is remembered is worth nothing then.

        Returns:
            Number and time of all of them; `learn` may have it once it is committed.
        """
        if erased != self._erased:
            self._known.clear()
            self._erased = erased
        now = time.time()
        found = {digest: known for digest in texts if (known := self._known.get(digest)) is not None}
        for digests in slices([digest for digest in texts if digest not in found]):
            rows = connection.execute(
                select(passage.c.hash, passage.c.id, passage.c.seen).where(passage.c.hash.in_(digests))
            )
            found |= {bytes(digest): (number, seen) for digest, number, seen in rows}
        if stale := [number for number, seen in found.values() if now - seen > SEEN_SECONDS]:
            for numbers in slices(stale):
                connection.execute(update(passage).where(passage.c.id.in_(numbers)).values(seen=now))
            late = set(stale)
            found |= {digest: (number, now) for digest, (number, _) in found.items() if number in late}
        new = {digest: (first + place, now) for place, digest in enumerate(texts.keys() - found.keys())}
        if new:
            written = [_row(number, digest, texts[digest], now) for digest, (number, _) in new.items()]
            connection.execute(insert(passage), written)
            connection.execute(update(store).values(next_passage=first + len(new)))
        return found | new

    def learn(self, numbers: Mapping[bytes, tuple[int, float]]) -> None:
        """Remember what `keep` found, now that it is committed."""
        self._known |= numbers
        if (over := len(self._known) - self._size) > 0:
            for digest in list(self._known)[: over + self._size // 4]:
                del self._known[digest]


def read_texts(connection: Connection, numbers: Collection[int]) -> dict[int, str]:
    """Texts by their numbers; those that were erased are not there."""
    texts: dict[int, str] = {}
    for some in slices(sorted(set(numbers))):
        rows = connection.execute(
            select(passage.c.id, passage.c.deflated, passage.c.data).where(passage.c.id.in_(some))
        )
        for number, deflated, data in rows:
            texts[number] = (zlib.decompress(data) if deflated else bytes(data)).decode("utf-8", "surrogatepass")
    return texts


def _row(number: int, digest: bytes, text: bytes, now: float) -> dict[str, object]:
    data = zlib.compress(text, 6) if len(text) >= DEFLATE_BYTES else text
    deflated = len(data) < 0.9 * len(text)
    kept = data if deflated else text
    return {"id": number, "hash": digest, "size": len(text), "deflated": deflated, "seen": now, "data": kept}
