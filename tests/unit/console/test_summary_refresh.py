"""Pages of monitoring beside the summaries that they need."""

from __future__ import annotations

import asyncio

import pytest

from rerankd.console import summary_refresh
from rerankd.console.summary_refresh import FRESH_SECONDS, STALE_SECONDS, SummaryRefresh
from rerankd.errors import UnavailableError


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(summary_refresh, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(summary_refresh, "WAIT", 0.01)
    return Clock()


async def test_all_rankings_are_summarized_before_the_page(clock: Clock) -> None:
    more = [True, True, False]
    refresh = SummaryRefresh(lambda: _done(more.pop(0)), clock)
    assert await refresh.wait() is True
    assert more == []


async def test_what_is_fresh_is_not_summarized_again(clock: Clock) -> None:
    calls: list[float] = []

    async def summarize() -> bool:
        calls.append(clock.now)
        return False

    refresh = SummaryRefresh(summarize, clock)
    for seconds in (0.0, FRESH_SECONDS - 1, 2.0):
        clock.now += seconds
        assert await refresh.wait() is True
    assert calls == [1000.0, 1000.0 + FRESH_SECONDS + 1]


async def test_a_page_does_not_wait_for_a_long_run_and_later_pages_join_it(clock: Clock) -> None:
    released, runs = asyncio.Event(), 0

    async def summarize() -> bool:
        nonlocal runs
        runs += 1
        await released.wait()
        return False

    refresh = SummaryRefresh(summarize, clock)
    assert await refresh.wait() is False
    assert list(await asyncio.gather(refresh.wait(), refresh.wait())) == [False, False]
    released.set()
    assert await refresh.wait() is True
    assert runs == 1


async def test_old_summaries_are_called_incomplete_only_after_a_minute(clock: Clock) -> None:
    released = asyncio.Event()
    released.set()

    async def summarize() -> bool:
        await released.wait()
        return False

    refresh = SummaryRefresh(summarize, clock)
    assert await refresh.wait() is True
    released.clear()
    clock.now += FRESH_SECONDS + 1
    assert await refresh.wait() is True
    clock.now += STALE_SECONDS
    assert await refresh.wait() is False
    released.set()


async def test_only_the_first_page_waits_longer(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary_refresh, "FIRST_WAIT", 0.5)
    released, loop = asyncio.Event(), asyncio.get_running_loop()

    async def summarize() -> bool:
        await released.wait()
        return False

    refresh, waits = SummaryRefresh(summarize, clock), []
    for _ in range(2):
        began = loop.time()
        assert await refresh.wait() is False
        waits.append(loop.time() - began)
    assert waits[1] < 0.5 <= waits[0] + 0.01
    released.set()


async def test_an_unreachable_database_is_tried_again(clock: Clock) -> None:
    failures = [UnavailableError("The trace database cannot be reached.", hint="Start it.")]

    async def summarize() -> bool:
        if failures:
            raise failures.pop()
        return False

    refresh = SummaryRefresh(summarize, clock)
    assert await refresh.wait() is False
    assert await refresh.wait() is True


async def _done(value: bool) -> bool:
    return value
