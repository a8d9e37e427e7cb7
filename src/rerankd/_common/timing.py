"""Time spent in the named steps of a computation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


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

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `name`, also when it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = (time.perf_counter() - started) * 1000
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + spent
