from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from rerankd._common.backoff import Backoff
from rerankd.engine.request import QueryGroup
from rerankd.jobs.bulk.chunk import Chunk, ChunkResult, RowError
from rerankd.jobs.bulk.local import LocalExecutor
from rerankd.jobs.bulk.scorer import CancelCheck
from rerankd.types import PairScore
from tests.unit.jobs.bulk.fakes import FakeScorer

ROW_ERROR = RowError("internal_error", "Scoring failed (RuntimeError).")
AT_ONCE = Backoff(attempts=3, first=0.0)


def chunk(number: int, *texts: str) -> Chunk:
    return Chunk(number, tuple(("q", (text,)) for text in texts))


def test_chunks_are_scored_in_order() -> None:
    executor = LocalExecutor(FakeScorer())
    results = list(executor.run(iter([chunk(0, "a", "bbbbbb"), chunk(1), chunk(2, "cc")])))
    assert results == [
        ChunkResult(0, ((1.0,), (6.0,)), tokens=6, truncated=1),
        ChunkResult(1, ()),
        ChunkResult(2, ((2.0,),), tokens=3),
    ]
    assert executor.identity == {"model": "fake"}


def test_a_chunk_that_fails_is_tried_again() -> None:
    left = [2]

    def failing(text: str) -> bool:
        left[0] -= 1
        return left[0] >= 0

    scorer = FakeScorer(failing)
    (result,) = LocalExecutor(scorer, backoff=AT_ONCE).run(iter([chunk(0, "a")]))
    assert result.outcomes == ((1.0,),)
    assert scorer.calls == [1, 1, 1]


def test_there_is_a_pause_between_two_attempts() -> None:
    scorer = FakeScorer(lambda text: len(scorer.calls) == 1)
    started = time.monotonic()
    (result,) = LocalExecutor(scorer, backoff=Backoff(first=0.2, jitter=0.0)).run(iter([chunk(0, "a")]))
    assert time.monotonic() - started >= 0.2
    assert result.outcomes == ((1.0,),)


def test_closing_ends_the_pause_between_two_attempts() -> None:
    failed = threading.Event()

    def failing(text: str) -> bool:
        if text == "bad":
            failed.set()
        return text == "bad"

    results = LocalExecutor(FakeScorer(failing), backoff=Backoff(first=60.0, longest=60.0)).run(
        iter([chunk(0, "a"), chunk(1, "bad")])
    )
    assert next(results).number == 0
    assert failed.wait(10)
    started = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 10


def test_a_row_that_goes_on_failing_takes_no_other_with_it() -> None:
    scorer = FakeScorer(lambda text: text == "bad")
    (first, after) = LocalExecutor(scorer, backoff=replace(AT_ONCE, attempts=2)).run(
        iter([chunk(0, "a", "bad", "cc"), chunk(1, "d")])
    )
    assert first.outcomes == ((1.0,), ROW_ERROR, (2.0,))
    assert scorer.calls == [3, 3, 1, 1, 1, 1]
    assert after.outcomes == ((1.0,),)


def test_closing_ends_the_work_between_two_batches() -> None:
    class Slow:
        def __init__(self) -> None:
            self.identity: dict[str, str | int] = {}
            self.began, self.batches = threading.Event(), 0

        def score(self, groups: tuple[QueryGroup, ...], check: CancelCheck | None = None) -> list[list[PairScore]]:
            if groups[0][0] == "first":
                return [[PairScore(0.0, 1, False)]]
            assert check
            self.began.set()
            while True:
                self.batches += 1
                check()

    scorer = Slow()

    def chunks() -> Iterator[Chunk]:
        yield Chunk(0, (("first", ("d",)),))
        yield Chunk(1, (("endless", ("d",)),))

    results = LocalExecutor(scorer, window=2).run(chunks())
    assert next(results).number == 0
    assert scorer.began.wait(10)
    results.close()  # type: ignore[attr-defined]
    assert scorer.batches > 0
