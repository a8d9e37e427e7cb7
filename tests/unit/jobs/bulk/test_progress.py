from __future__ import annotations

import io

from rich.console import Console

from rerankd.cli.bulk_progress import shown
from rerankd.jobs.bulk.run import BulkProgress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_away_from_a_terminal_there_is_a_line_every_ten_seconds() -> None:
    console, clock = Console(file=io.StringIO(), width=40), Clock()
    with shown(console, clock) as watch:
        for second in range(26):
            clock.now = second
            watch(BulkProgress(second, second * 100, int(second > 15), 0, 0, second / 100))
    assert said(console).splitlines() == [
        "10% of the input, 1,000 pairs, 100 pairs/s, 1 min 30 s left",
        "20% of the input, 2,000 pairs, 100 pairs/s, 1 min 20 s left, 1 row without a score",
    ]


def test_where_nothing_tells_the_share_none_is_said() -> None:
    console, clock = Console(file=io.StringIO()), Clock()
    with shown(console, clock) as watch:
        watch(BulkProgress(0, 0, 0, 0, 0))
        clock.now = 20.0
        watch(BulkProgress(5, 50, 0, 0, 0))
    assert said(console) == "50 pairs, 2 pairs/s\n"


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, _environ={"TERM": "xterm"})
    with shown(console, Clock()) as watch:
        watch(BulkProgress(0, 0, 0, 0, 0, 0.0))
        watch(BulkProgress(1, 10, 0, 0, 0, 0.5))
    assert "10 pairs" in said(console)
    assert "50%" in said(console)
