"""Exponential backoff with jitter, for everything that tries again. It computes pauses; the caller sleeps."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between attempts: `first`, twice that, and so on up to `longest`, each shortened by a random share.

    Attributes:
        attempts: attempts in all, so `attempts - 1` pauses; None for no limit.
        first: first pause in seconds, before jitter.
        longest: longest pause in seconds.
        jitter: share of a pause that chance may take away, 0 to 1, so that clients do not return together (Brooker
            2015, "Exponential Backoff And Jitter").

    Example:
        >>> list(Backoff(attempts=4, first=0.5, longest=1.5, jitter=0).pauses())
        [0.5, 1.0, 1.5]
    """

    attempts: int | None = 3
    first: float = 0.5
    longest: float = 30.0
    jitter: float = 0.5

    def pause(self, failures: int, retry_after: float | None = None) -> float:
        """Return the seconds to wait after a number of failures.

        Args:
            failures: failed attempts so far, from 1.
            retry_after: seconds that the server asked for; the pause is at least that long.

        Example:
            >>> Backoff(jitter=0).pause(1, retry_after=7)
            7
        """
        pause = min(self.longest, self.first * 2.0 ** min(failures - 1, 60))
        pause *= 1 - self.jitter * random.random()  # noqa: S311  spread, not secret
        return max(pause, retry_after or 0.0)

    def pauses(self) -> Iterator[float]:
        """Yield the pause after each failure; ends when no attempt is left."""
        failures = 1
        while self.attempts is None or failures < self.attempts:
            yield self.pause(failures)
            failures += 1
