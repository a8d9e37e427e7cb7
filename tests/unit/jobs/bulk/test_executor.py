from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import UnavailableError
from rerankd.jobs.bulk.chunk import Chunk, ChunkResult
from rerankd.jobs.bulk.executor import in_order


@given(st.integers(0, 20), st.integers(1, 6), st.randoms(use_true_random=False))
def test_chunks_complete_in_any_order_and_results_come_in_order(count: int, window: int, draw: st.DrawFn) -> None:
    in_flight: list[tuple[Future[ChunkResult], int]] = []
    pulled: list[int] = []

    def chunks() -> Iterator[Chunk]:
        for number in range(count):
            pulled.append(number)
            yield Chunk(number, (("q", ("d",)),))

    class CompletedOnDemand(Future[ChunkResult]):
        def result(self, timeout: float | None = None) -> ChunkResult:
            while not self.done():
                future, number = in_flight.pop(draw.randrange(len(in_flight)))  # type: ignore[attr-defined]
                future.set_result(ChunkResult(number, ((1.0,),)))
            return super().result(timeout)

    def submit(chunk: Chunk) -> Future[ChunkResult]:
        future = CompletedOnDemand()
        in_flight.append((future, chunk.number))
        return future

    for number, result in enumerate(in_order(chunks(), submit, window)):
        assert result.number == number
        assert len(pulled) <= number + window
    assert pulled == list(range(count))


def test_chunks_without_pairs_are_not_sent() -> None:
    def submit(chunk: Chunk) -> Future[ChunkResult]:
        raise AssertionError

    chunks = iter([Chunk(0, ()), Chunk(1, (("q", ()), ("r", ())))])
    assert list(in_order(chunks, submit, 2)) == [ChunkResult(0, ()), ChunkResult(1, ((), ()))]


def test_what_is_under_way_is_dropped_at_an_error() -> None:
    futures = [Future[ChunkResult]() for _ in range(3)]
    futures[0].set_exception(UnavailableError("Redis does not answer."))
    chunks = (Chunk(number, (("q", ("d",)),)) for number in range(3))
    with pytest.raises(UnavailableError):
        list(in_order(chunks, lambda chunk: futures[chunk.number], 3))
    assert [future.cancelled() for future in futures] == [False, True, True]
