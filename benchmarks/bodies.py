"""Request bodies for the load generator, by serial number."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


class Bodies(Protocol):
    """Request bodies by serial number: one number gives one body, and no two numbers share a pair."""

    def body(self, serial: int) -> bytes:
        """Return the body with that serial number."""

    def pairs(self, serial: int) -> int:
        """Return the number of pairs of the body with that serial number."""


@dataclass(frozen=True)
class FixedBodies:
    """Fixed list of requests, repeated from the first after the last."""

    requests: Sequence[tuple[str, Sequence[str]]]

    def body(self, serial: int) -> bytes:
        """Return the body with that serial number."""
        query, documents = self.requests[serial % len(self.requests)]
        content = {"model": "mini", "query": query, "documents": documents, "return_documents": False}
        return json.dumps(content, ensure_ascii=False).encode()

    def pairs(self, serial: int) -> int:
        """Return the number of documents in the body with that serial number."""
        return len(self.requests[serial % len(self.requests)][1])


@dataclass(frozen=True)
class RandomBodies:
    """Any number of random bodies from a few texts: the query holds the serial number, so no pair repeats.

    Attributes:
        query: start of every query.
        texts: documents are drawn from these, already JSON.
        least: documents of a body at least.
        most: documents of a body at most.
        seed: draws other bodies.
    """

    query: str
    texts: Sequence[bytes]
    least: int
    most: int
    seed: int = 0

    @classmethod
    def of(cls, query: str, texts: Iterable[str], least: int, most: int, seed: int = 0) -> RandomBodies:
        """Encode plain texts as JSON and return bodies drawn from them."""
        return cls(query, [json.dumps(text, ensure_ascii=False).encode() for text in texts], least, most, seed)

    def _draw(self, serial: int) -> random.Random:
        return random.Random(self.seed * 1_000_003 + serial)

    def body(self, serial: int) -> bytes:
        """Return the body with that serial number."""
        draw = self._draw(serial)
        documents = draw.choices(self.texts, k=draw.randint(self.least, self.most))
        query = json.dumps(f"{self.query} ({self.seed}-{serial})", ensure_ascii=False).encode()
        return b'{"query":%b,"documents":[%b],"return_documents":false}' % (query, b",".join(documents))

    def pairs(self, serial: int) -> int:
        """Return the number of documents in the body with that serial number."""
        return self._draw(serial).randint(self.least, self.most)
