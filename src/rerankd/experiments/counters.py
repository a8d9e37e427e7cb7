"""Counts of one instance that its database does not have yet: sums of metrics and units, bounded. Thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from rerankd.experiments.sequential_tests import Sums

MAX_UNITS = 20_000
SumsKey = tuple[int, int, str, str]
"""Experiment id, step, variant and metric."""
UnitKey = tuple[int, int, str]
"""Experiment id, step and hash of the unit."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counts that were drained and are to be added to the database.

    Attributes:
        sums: sums of the metrics.
        units: variant of each unit that is new.
    """

    sums: Mapping[SumsKey, Sums] = field(default_factory=dict)
    units: Mapping[UnitKey, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sums or self.units)


class Counters:
    """Sums of request metrics and the units seen; keeps the first `MAX_UNITS` units of each experiment and step.

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
        self._sums: dict[SumsKey, Sums] = {}
        self._units: dict[UnitKey, str] = {}
        self._seen: dict[tuple[int, int], set[str]] = {}

    def add(self, experiment: int, step: int, variant: str, values: Mapping[str, float], unit: str = "") -> None:
        """Count the metrics of a request, and its unit if it is new.

        Args:
            experiment: id of the experiment.
            step: step of the experiment.
            variant: variant that the metrics are of.
            values: value of each metric.
            unit: hash of the unit; empty to count none.
        """
        with self._lock:
            for metric, value in values.items():
                key = (experiment, step, variant, metric)
                self._sums[key] = self._sums.get(key, _NO_SUMS) + Sums(1, value, value * value)
            seen = self._seen.setdefault((experiment, step), set())
            if unit and unit not in seen and len(seen) < MAX_UNITS:
                seen.add(unit)
                self._units[experiment, step, unit] = variant

    def drain(self) -> Snapshot:
        """Return everything counted since the last call, and start from zero."""
        with self._lock:
            snapshot = Snapshot(self._sums, self._units)
            self._sums, self._units = {}, {}
        return snapshot

    def restore(self, snapshot: Snapshot) -> None:
        """Add back counts that could not be written."""
        with self._lock:
            for key, sums in snapshot.sums.items():
                self._sums[key] = self._sums.get(key, _NO_SUMS) + sums
            self._units = {**snapshot.units, **self._units}

    def forget(self, kept: Collection[tuple[int, int]]) -> None:
        """Forget the units of every experiment and step but these."""
        with self._lock:
            self._seen = {key: seen for key, seen in self._seen.items() if key in kept}


_NO_SUMS = Sums()
