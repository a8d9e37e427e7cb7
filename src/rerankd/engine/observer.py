"""Events of an engine, for metrics."""

from __future__ import annotations


class EngineObserver:
    """Base class of engine observers; every method does nothing. Called from several threads."""

    def encoded(self, model: str, seconds: float) -> None:
        """Record that a slice of a request was tokenized."""

    def batch(self, model: str, pairs: int, tokens: int, padded: int, seconds: float) -> None:
        """Record a computed batch; `padded` counts its tokens, padding included."""

    def cached(self, model: str, hits: int, misses: int) -> None:
        """Record a look-up in the score cache."""

    def dropped(self, model: str, pairs: int, reason: str) -> None:
        """Record pairs dropped before they were computed: `deadline`, `cancelled` or `failed`."""

    def refused(self, model: str, reason: str) -> None:
        """Record a request refused by admission control (load shedding)."""

    def failed(self, model: str, kind: str) -> None:
        """Record a failure: `pair`, `out_of_memory` or `loop`."""
