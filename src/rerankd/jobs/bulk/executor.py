"""Executors of chunks: their protocol, and a helper that puts results in the order of the chunks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Protocol

from rerankd.jobs.bulk.chunk import Chunk, ChunkResult


class Executor(Protocol):
    """Scores chunks, here or elsewhere.

    Attributes:
        identity: what its scores depend on, as texts and numbers under stable names: `model`, `version`, `policy`.
            A run is only resumed by an executor with the same.
    """

    identity: Mapping[str, str | int]

    def run(self, chunks: Iterator[Chunk]) -> Iterator[ChunkResult]:
        """Score chunks.

        Takes chunks from the iterator only as far ahead as it has room for, and from one thread at a time. A chunk
        that fails is tried again; one that goes on failing comes back with errors as its outcomes. Closing the
        iterator that is returned drops what is under way.

        Returns:
            One result per chunk, in the order of the chunks.

        Raises:
            RerankdError: nothing can be scored now, whatever the chunk.
        """
        ...


def in_order(
    chunks: Iterator[Chunk], submit: Callable[[Chunk], Future[ChunkResult]], window: int
) -> Iterator[ChunkResult]:
    """Results in the order of the chunks, with at most `window` chunks on their way.

    Args:
        chunks: read in the caller's thread, while submitted ones are worked on.
        submit: starts the work on a chunk; not called for one without pairs.
        window: chunks under way at most, those that wait for an earlier one counted in.

    Example:
        >>> def submit(chunk):
        ...     future = Future()
        ...     future.set_result(ChunkResult(chunk.number, ((1.0,),)))
        ...     return future
        >>> chunks = (Chunk(number, (("q", ("d",)),)) for number in range(3))
        >>> [result.number for result in in_order(chunks, submit, 2)]
        [0, 1, 2]
    """
    in_flight: deque[Future[ChunkResult]] = deque()
    try:
        more = True
        while more or in_flight:
            while more and len(in_flight) < window:
                chunk = next(chunks, None)
                if chunk is None:
                    more = False
                else:
                    in_flight.append(submit(chunk) if chunk.pairs else _nothing(chunk))
            if in_flight:
                result = in_flight[0].result()
                in_flight.popleft()
                yield result
    finally:
        for future in in_flight:
            future.cancel()


def _nothing(chunk: Chunk) -> Future[ChunkResult]:
    future: Future[ChunkResult] = Future()
    future.set_result(ChunkResult(chunk.number, ((),) * len(chunk.groups)))
    return future
