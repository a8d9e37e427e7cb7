"""Time spent in the named steps of a computation."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

TIMINGS = ("tokenization", "queue", "inference", "total")


def complete_timings(milliseconds: Mapping[str, object], *, missing: float) -> dict[str, float]:
    """Return timings with the keys that every `RerankResult` has: `tokenization`, `queue`, `inference`, `total`.

    Args:
        milliseconds: milliseconds by step; other keys, and values that are not numbers, are left out.
        missing: value of a step that is not there.

    Example:
        >>> complete_timings({"inference": 5, "other": 1}, missing=0.0)
        {'tokenization': 0.0, 'queue': 0.0, 'inference': 5.0, 'total': 0.0}
    """
    values = {step: milliseconds.get(step) for step in TIMINGS}
    return {
        step: float(value) if isinstance(value, int | float) and not isinstance(value, bool) else missing
        for step, value in values.items()
    }


class StepTimer:
    """Milliseconds spent in named steps.

    Example:
        >>> timer = StepTimer()
        >>> with timer.step("encode"):
        ...     pass
        >>> sorted(timer.milliseconds)
        ['encode']
    """

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    def with_total(self) -> dict[str, float]:
        """Return the milliseconds of each step, and of all as `total`."""
        return {**self.milliseconds, "total": sum(self.milliseconds.values())}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `name`, also when it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = (time.perf_counter() - started) * 1000
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + spent
