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
        identity: everything that the scores depend on, under stable names: `model`, `version`, `policy`.
            A run resumes only with an executor of the same identity.
    """

    identity: Mapping[str, str | int]

    def run(self, chunks: Iterator[Chunk]) -> Iterator[ChunkResult]:
        """Score chunks.

        Chunks are taken from the iterator only as far ahead as the window allows, and from one thread at a time. A
        chunk that fails is retried; one that keeps failing is returned with errors as its outcomes. Closing the
        returned iterator cancels the chunks in flight.

        Returns:
            One result per chunk, in the order of the chunks.

        Raises:
            RerankdError: nothing can be scored at present.
        """
        ...


def in_order(
    chunks: Iterator[Chunk], submit: Callable[[Chunk], Future[ChunkResult]], window: int
) -> Iterator[ChunkResult]:
    """Yield results in the order of the chunks, with at most `window` chunks in flight.

    Args:
        chunks: chunks to submit; read in the caller's thread.
        submit: starts scoring a chunk; not called for a chunk without pairs.
        window: largest number of chunks in flight, those that wait for an earlier one included.

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
        has_more = True
        while has_more or in_flight:
            while has_more and len(in_flight) < window:
                chunk = next(chunks, None)
                if chunk is None:
                    has_more = False
                else:
                    in_flight.append(submit(chunk) if chunk.pairs else _empty_result(chunk))
            if in_flight:
                result = in_flight[0].result()
                in_flight.popleft()
                yield result
    finally:
        for future in in_flight:
            future.cancel()


def _empty_result(chunk: Chunk) -> Future[ChunkResult]:
    future: Future[ChunkResult] = Future()
    future.set_result(ChunkResult(chunk.number, ((),) * len(chunk.groups)))
    return future
