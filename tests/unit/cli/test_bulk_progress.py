from __future__ import annotations

import io

from rich.console import Console

from rerankd.cli.bulk_progress import show_progress
from rerankd.jobs.bulk.run import BulkProgress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_away_from_a_terminal_there_is_a_line_every_ten_seconds() -> None:
    console, clock = Console(file=io.StringIO(), width=40), Clock()
    with show_progress(console, clock) as show:
        for second in range(26):
            clock.now = second
            show(BulkProgress(second, second * 100, int(second > 15), 0, 0, second / 100))
    assert printed(console).splitlines() == [
        "10% of the input, 1,000 pairs, 100 pairs/s, 1 min 30 s left",
        "20% of the input, 2,000 pairs, 100 pairs/s, 1 min 20 s left, 1 row without a score",
    ]


def test_an_unknown_share_is_left_out() -> None:
    console, clock = Console(file=io.StringIO()), Clock()
    with show_progress(console, clock) as show:
        show(BulkProgress(0, 0, 0, 0, 0))
        clock.now = 5.0
        show(BulkProgress(1, 10, 0, 0, 0))
        clock.now = 25.0
        show(BulkProgress(5, 50, 0, 0, 0))
    assert printed(console) == "50 pairs, 2 pairs/s\n"


def test_an_unknown_speed_is_left_out() -> None:
    console, clock = Console(file=io.StringIO()), Clock()
    with show_progress(console, clock) as show:
        show(BulkProgress(0, 0, 0, 0, 0, 0.0))
        clock.now = 20.0
        show(BulkProgress(5, 50, 0, 0, 0, 0.1))
    assert printed(console) == "10% of the input, 50 pairs\n"


def test_the_speed_of_a_resumed_run_leaves_out_what_was_scored_before() -> None:
    console, clock = Console(file=io.StringIO()), Clock()
    with show_progress(console, clock) as show:
        show(BulkProgress(100, 1000, 0, 0, 0, 0.5))
        clock.now = 10.0
        show(BulkProgress(101, 1010, 0, 0, 0, 0.75))
    assert printed(console) == "75% of the input, 1,010 pairs, 1 pairs/s, 10 s left\n"


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, _environ={"TERM": "xterm"})
    with show_progress(console, Clock()) as show:
        show(BulkProgress(0, 0, 0, 0, 0, 0.0))
        show(BulkProgress(1, 10, 0, 0, 0, 0.5))
    assert "10 pairs" in printed(console)
    assert "50%" in printed(console)
