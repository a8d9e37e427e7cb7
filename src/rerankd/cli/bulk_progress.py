"""What a bulk run shows while it goes on: a bar on a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from rerankd.jobs.bulk.eta import Meter, Pace, duration
from rerankd.jobs.bulk.run import BulkProgress, OnProgress

LINE_SECONDS = 10.0


@contextmanager
def shown(console: Console, clock: Callable[[], float] = time.monotonic) -> Iterator[OnProgress]:
    """Give a function to call with every `BulkProgress`."""
    if not console.is_terminal:
        yield _Lines(console, clock)
        return
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)
        meter = Meter()

        def watch(moment: BulkProgress) -> None:
            pace = meter.seen(clock(), moment.pairs, moment.share)
            total = None if moment.share is None else 1.0
            progress.update(task, description=words(moment, pace), completed=moment.share or 0.0, total=total)

        yield watch


class _Lines:
    """A line now and then."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console, self._clock, self._meter = console, clock, Meter()
        self._said = clock()

    def __call__(self, moment: BulkProgress) -> None:
        now = self._clock()
        pace = self._meter.seen(now, moment.pairs, moment.share)
        if now - self._said >= LINE_SECONDS:
            self._said = now
            share = "" if moment.share is None else f"{moment.share:.0%} of the input, "
            self._console.print(f"{share}{words(moment, pace)}", highlight=False, soft_wrap=True)


def unscored(rows: int) -> str:
    """How many rows have no score.

    Example:
        >>> unscored(1)
        '1 row without a score'
    """
    return f"{rows:,} {'row' if rows == 1 else 'rows'} without a score"


def words(moment: BulkProgress, pace: Pace) -> str:
    """How far, how fast, how long still.

    Example:
        >>> words(BulkProgress(10, 512, 0, 9000, 0, 0.5), Pace(51.2, 10.0))
        '512 pairs, 51 pairs/s, 10 s left'
    """
    parts = [f"{moment.pairs:,} pairs"]
    if pace.pairs_per_second is not None:
        parts.append(f"{pace.pairs_per_second:,.0f} pairs/s")
    if pace.seconds_left is not None:
        parts.append(f"{duration(pace.seconds_left)} left")
    if moment.unscored:
        parts.append(unscored(moment.unscored))
    return ", ".join(parts)
