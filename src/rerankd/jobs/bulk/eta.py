"""Speed and time left, from what was done in the last minute. Pure: time is an argument."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Pairs per second and seconds left; None while unknown."""

    pairs_per_second: float | None
    seconds_left: float | None


class Meter:
    """Watches a number of pairs and a share of the input grow.

    Example:
        >>> meter = Meter()
        >>> _ = meter.seen(0.0, 0, 0.0)
        >>> meter.seen(10.0, 500, 0.25)
        Pace(pairs_per_second=50.0, seconds_left=30.0)
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, float | None]] = deque()

    def seen(self, now: float, pairs: int, share: float | None) -> Pace:
        """Take in how far it is at `now`."""
        self._seen.append((now, pairs, share))
        while len(self._seen) > 2 and now - self._seen[1][0] >= WINDOW_SECONDS:
            self._seen.popleft()
        then, pairs_then, share_then = self._seen[0]
        seconds = now - then
        if seconds <= 0:
            return Pace(None, None)
        left = None
        if share is not None and share_then is not None and share > share_then:
            left = max(0.0, 1 - share) * seconds / (share - share_then)
        return Pace((pairs - pairs_then) / seconds, left)


def duration(seconds: float) -> str:
    """Seconds for people.

    Example:
        >>> [duration(42), duration(61), duration(7260)]
        ['42 s', '1 min 1 s', '2 h 1 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
