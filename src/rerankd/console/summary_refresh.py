"""Summaries of new rankings, made beside the page of monitoring, which waits for them only for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from rerankd.errors import UnavailableError

FIRST_WAIT = 1.0  # seconds that the first page waits: it has nothing else to show
WAIT = 0.05
FRESH_SECONDS = 10.0  # for which what was summarized is new enough
STALE_SECONDS = 60.0  # after which a page says that newer rankings are missing


class SummaryRefresh:
    """Brings the summaries up to date, one run at a time, for all pages that ask meanwhile.

    Args:
        refresh: summarizes some rankings, and returns True if there are more.
        clock: monotonic seconds.

    Example:
        >>> refresh = SummaryRefresh(summarize_some)  # doctest: +SKIP
        >>> is_complete = await refresh.wait()  # doctest: +SKIP
    """

    def __init__(self, refresh: Callable[[], Awaitable[bool]], clock: Callable[[], float] = time.monotonic) -> None:
        self._refresh, self._clock = refresh, clock
        self._task: asyncio.Task[None] | None = None
        self._completed: float | None = None
        self._is_first = True

    async def wait(self) -> bool:
        """Wait a moment for the summaries of new rankings.

        Returns:
            True if the summaries hold all rankings but those of the last minute; False if the run goes on, or the
            database cannot be reached.
        """
        if self._age() < FRESH_SECONDS:
            return True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        seconds, self._is_first = FIRST_WAIT if self._is_first else WAIT, False
        await asyncio.wait({self._task}, timeout=seconds)
        return self._age() < STALE_SECONDS

    def _age(self) -> float:
        return float("inf") if self._completed is None else self._clock() - self._completed

    async def _run(self) -> None:
        began = self._clock()
        try:
            while await self._refresh():
                pass
        except UnavailableError:  # the page reads the same database, and says so
            return
        self._completed = began
