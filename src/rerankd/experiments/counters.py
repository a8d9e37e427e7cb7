"""What one instance saw of experiments since it last told the database: sums and units, bounded. Thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from rerankd.experiments.sequential_tests import Sums

MAX_UNITS = 20_000
Key = tuple[int, int, str, str]
"""Experiment, step, arm and metric."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is to be told.

    Attributes:
        sums: by experiment, step, arm and metric.
        units: arm by experiment, step and hash of the unit.
    """

    sums: Mapping[Key, Sums] = field(default_factory=dict)
    units: Mapping[tuple[int, int, str], str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sums or self.units)


class Counters:
    """Adds up; of each experiment and step it tells of `MAX_UNITS` units at most, the first that came.

    Example:
        >>> counters = Counters()
        >>> counters.add(1, 0, "champion", {"errors": 0.0}, "unit")
        >>> counters.drain().sums
        {(1, 0, 'champion', 'errors'): Sums(count=1, total=0.0, squares=0.0)}
        >>> bool(counters.drain())
        False
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[Key, Sums] = {}
        self._units: dict[tuple[int, int, str], str] = {}
        self._seen: dict[tuple[int, int], set[str]] = {}

    def add(self, experiment: int, step: int, arm: str, values: Mapping[str, float], unit: str = "") -> None:
        """Count a request's numbers, and its unit where it is new."""
        with self._lock:
            for metric, value in values.items():
                key = (experiment, step, arm, metric)
                self._sums[key] = self._sums.get(key, _NOTHING) + Sums(1, value, value * value)
            seen = self._seen.setdefault((experiment, step), set())
            if unit and unit not in seen and len(seen) < MAX_UNITS:
                seen.add(unit)
                self._units[experiment, step, unit] = arm

    def drain(self) -> Snapshot:
        """Everything since the last time."""
        with self._lock:
            snapshot = Snapshot(self._sums, self._units)
            self._sums, self._units = {}, {}
        return snapshot

    def restore(self, snapshot: Snapshot) -> None:
        """Count again what could not be told."""
        with self._lock:
            for key, sums in snapshot.sums.items():
                self._sums[key] = self._sums.get(key, _NOTHING) + sums
            self._units = {**snapshot.units, **self._units}

    def forget(self, kept: Collection[tuple[int, int]]) -> None:
        """Forget which units were seen but in these experiments and steps."""
        with self._lock:
            self._seen = {key: seen for key, seen in self._seen.items() if key in kept}


_NOTHING = Sums()
