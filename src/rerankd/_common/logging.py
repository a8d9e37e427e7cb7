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


class Observer:
    """What an engine tells whoever watches it; this one does not listen. Called from several threads."""

    def encoded(self, model: str, seconds: float) -> None:
        """A slice of a request was tokenised."""

    def batch(self, model: str, pairs: int, tokens: int, padded: int, seconds: float) -> None:
        """A batch was computed; `padded` counts its tokens with padding."""

    def cached(self, model: str, hits: int, misses: int) -> None:
        """The cache was asked."""

    def dropped(self, model: str, pairs: int, reason: str) -> None:
        """Pairs were dropped before they were computed: `deadline`, `cancelled` or `failed`."""

    def refused(self, model: str, reason: str) -> None:
        """A request was refused whole."""

    def failed(self, model: str, kind: str) -> None:
        """Something broke: `pair`, `out_of_memory` or `loop`."""
