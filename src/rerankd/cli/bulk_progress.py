"""Progress of a bulk run: a bar on a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn

from rerankd._common.plural import counted
from rerankd.jobs.bulk.run import BulkProgress, OnProgress

LINE_SECONDS = 10.0
SPEED_SECONDS = 600.0  # rich measures the speed over these seconds; a chunk that takes longer leaves it unknown


@contextmanager
def show_progress(console: Console, clock: Callable[[], float] = time.monotonic) -> Iterator[OnProgress]:
    """Show a run's progress for the duration of a block.

    Args:
        console: console to write to.
        clock: monotonic seconds.

    Yields:
        A function to call with every `BulkProgress`.
    """
    with Progress(
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("left,"),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        get_time=clock,
        speed_estimate_period=SPEED_SECONDS,
    ) as bar:
        yield _Display(bar, console, clock)


class _Display:
    """Callback that updates the tasks of a rich `Progress`, and prints lines where no bar is shown."""

    def __init__(self, bar: Progress, console: Console, clock: Callable[[], float]) -> None:
        self._bar, self._console, self._clock = bar, console, clock
        self._share = self._task("starting", visible=True)
        self._pairs = self._task("pairs", visible=False)
        self._printed = clock()

    def __call__(self, progress: BulkProgress) -> None:
        self._bar.update(self._pairs.id, completed=progress.pairs)
        total = None if progress.share is None else 1.0
        self._bar.update(self._share.id, completed=progress.share or 0.0, total=total)
        self._bar.update(self._share.id, description=describe(progress, self._pairs.speed))
        if self._bar.disable and self._clock() - self._printed >= LINE_SECONDS:
            self._printed = self._clock()
            share = "" if progress.share is None else f"{progress.share:.0%} of the input, "
            line = describe(progress, self._pairs.speed, self._share.time_remaining)
            self._console.print(f"{share}{line}", highlight=False, soft_wrap=True)

    def _task(self, description: str, *, visible: bool) -> Task:
        task_id = self._bar.add_task(description, total=None, visible=visible)
        return next(task for task in self._bar.tasks if task.id == task_id)


def duration(seconds: float) -> str:
    """Format seconds for people.

    Example:
        >>> [duration(42), duration(61), duration(7260)]
        ['42 s', '1 min 1 s', '2 h 1 min']
    """
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60} min"


def unscored(rows: int) -> str:
    """Format the number of rows without a score.

    Example:
        >>> unscored(1)
        '1 row without a score'
    """
    return counted(rows, "row without a score", "rows without a score")


def describe(progress: BulkProgress, pairs_per_second: float | None, seconds_left: float | None = None) -> str:
    """Describe the progress of a run in one line.

    Args:
        progress: progress of the run.
        pairs_per_second: speed; None if it is unknown.
        seconds_left: estimated time left; None if it is unknown, or shown elsewhere.

    Example:
        >>> describe(BulkProgress(10, 512, 0, 9000, 0, 0.5), 51.2, 10.0)
        '512 pairs, 51 pairs/s, 10 s left'
    """
    parts = [counted(progress.pairs, "pair")]
    if pairs_per_second is not None:
        parts.append(f"{pairs_per_second:,.0f} pairs/s")
    if seconds_left is not None:
        parts.append(f"{duration(seconds_left)} left")
    if progress.unscored:
        parts.append(unscored(progress.unscored))
    return ", ".join(parts)
