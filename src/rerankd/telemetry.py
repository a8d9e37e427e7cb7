"""Loggers and step timers. Nothing here leaves the process; the root logger is never touched."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager


def logger(name: str) -> logging.Logger:
    """Return the library's logger for a module; silent until the application configures logging."""
    log = logging.getLogger(f"rerankd.{name.removeprefix('rerankd.')}")
    if not logging.getLogger("rerankd").handlers:
        logging.getLogger("rerankd").addHandler(logging.NullHandler())
    return log


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
