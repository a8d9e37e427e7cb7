"""Statistics of timings: percentiles, rates, and ratios of alternating measurements."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least `share` of all values do not exceed (nearest rank).

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
    """Return percentiles by name.

    Example:
        >>> spread([3.0, 1.0, 2.0], "p50", "p95", "max")
        {'p50': 2.0, 'p95': 3.0, 'max': 3.0}
    """
    return {name: round(percentile(values, SHARES[name]), digits) for name in names}


def rate(count: int, seconds: Sequence[float]) -> float:
    """Return the count per second of the median round."""
    return round(count / statistics.median(seconds), 1)


def median_ratio(base: Sequence[float], other: Sequence[float]) -> float:
    """Return the median of `base / other` round by round: above 1 where `other` took less time.

    Example:
        >>> median_ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0])
        2.0
    """
    return statistics.median(one / two for one, two in zip(base, other, strict=True))


@dataclass
class AlternatingTimings:
    """Wall-clock and processor seconds of alternating measurements, by name."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    processor: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, seconds: float, processor: float) -> None:
        """Add one round."""
        self.seconds.setdefault(name, []).append(seconds)
        self.processor.setdefault(name, []).append(processor)

    def ratios(self, base: str, other: str, times: float = 1.0) -> dict[str, Any]:
        """Return the speed-up of `other` over `base`, in wall-clock time and in processor time, which has less noise.

        Args:
            base: name of the baseline.
            other: name of the measurement to compare.
            times: cores of `other` per core of `base`; the processor-time ratio is the wall-clock ratio of an
                otherwise idle machine.
        """
        seconds, processor = (self.seconds[base], self.seconds[other]), (self.processor[base], self.processor[other])
        return {
            "ratio": round(median_ratio(*seconds), 3),
            "ratios": [round(a / b, 3) for a, b in zip(*seconds, strict=True)],
            "processor_time_ratio": round(times * median_ratio(*processor), 3),
            "processor_time_ratios": [round(times * a / b, 3) for a, b in zip(*processor, strict=True)],
        }
