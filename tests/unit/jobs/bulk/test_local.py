from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from rerankd.jobs.bulk.chunk import Chunk, ChunkResult, RowError
from rerankd.jobs.bulk.local import LocalExecutor
from rerankd.types import PairScore
from tests.unit.jobs.bulk.fakes import FakeScorer

SAID = RowError("internal_error", "Scoring failed (RuntimeError).")


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
    (result,) = LocalExecutor(scorer, attempts=3).run(iter([chunk(0, "a")]))
    assert result.outcomes == ((1.0,),)
    assert scorer.calls == [1, 1, 1]


def test_a_row_that_goes_on_failing_takes_no_other_with_it() -> None:
    scorer = FakeScorer(lambda text: text == "bad")
    (first, after) = LocalExecutor(scorer, attempts=2).run(iter([chunk(0, "a", "bad", "cc"), chunk(1, "d")]))
    assert first.outcomes == ((1.0,), SAID, (2.0,))
    assert scorer.calls == [3, 3, 1, 1, 1, 1]
    assert after.outcomes == ((1.0,),)


def test_closing_ends_the_work_between_two_batches() -> None:
    class Slow:
        def __init__(self) -> None:
            self.identity: dict[str, str | int] = {}
            self.began, self.batches = threading.Event(), 0

        def score(
            self, groups: tuple[tuple[str, tuple[str, ...]], ...], check: Callable[[], None] | None = None
        ) -> list[list[PairScore]]:
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
