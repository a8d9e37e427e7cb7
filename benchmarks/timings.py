"""Times as they are reported: percentiles, rates, and ratios of what takes turns."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed (nearest rank).

    Example:
        >>> percentile([4, 1, 3, 2], 0.5)
        2

    Raises:
        ValueError: there are none.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("There is no percentile of nothing.")
    return ordered[max(0, min(len(ordered), -int(-share * len(ordered) // 1)) - 1)]


def spread(values: Sequence[float], *names: str, digits: int = 1) -> dict[str, float]:
    """Percentiles by their names.

    Example:
        >>> spread([3.0, 1.0, 2.0], "p50", "p95", "max")
        {'p50': 2.0, 'p95': 3.0, 'max': 3.0}
    """
    return {name: round(percentile(values, SHARES[name]), digits) for name in names}


def rate(count: int, seconds: Sequence[float]) -> float:
    """How many in a second, in the middle turn."""
    return round(count / statistics.median(seconds), 1)


def median_ratio(base: Sequence[float], other: Sequence[float]) -> float:
    """Median of `base / other` turn by turn: above 1 where `other` took less time.

    Example:
        >>> median_ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0])
        2.0
    """
    return statistics.median(one / two for one, two in zip(base, other, strict=True))


@dataclass
class Turns:
    """Seconds on the clock and on cores of what takes turns, by name."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    processor: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, seconds: float, processor: float) -> None:
        """One turn."""
        self.seconds.setdefault(name, []).append(seconds)
        self.processor.setdefault(name, []).append(processor)

    def ratios(self, base: str, other: str, times: float = 1.0) -> dict[str, Any]:
        """How much faster `other` is than `base`, on the clock, and by time on cores: there others do not count.

        Args:
            base: what the other is compared with.
            other: what is compared.
            times: cores of `other` for each of `base`; the second ratio is what the first comes to if nothing else
                wants them.
        """
        seconds, processor = (self.seconds[base], self.seconds[other]), (self.processor[base], self.processor[other])
        return {
            "ratio": round(median_ratio(*seconds), 3),
            "ratios": [round(a / b, 3) for a, b in zip(*seconds, strict=True)],
            "processor_time_ratio": round(times * median_ratio(*processor), 3),
            "processor_time_ratios": [round(times * a / b, 3) for a, b in zip(*processor, strict=True)],
        }
