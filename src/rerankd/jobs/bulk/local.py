"""Chunks scored in this process: one is computed while those before and behind it are written and read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Protocol

from rerankd._common.logging import logger
from rerankd.engine.request import QueryGroup
from rerankd.jobs.bulk.chunk import Chunk, ChunkResult, RowError, RowResult
from rerankd.jobs.bulk.executor import in_order
from rerankd.jobs.bulk.scorer import CancelCheck
from rerankd.types import PairScore

_log = logger(__name__)


class GroupScorer(Protocol):
    """Scores groups; see `rerankd.jobs.bulk.scorer.PairScorer`."""

    identity: dict[str, str | int]

    def score(self, groups: tuple[QueryGroup, ...], check: CancelCheck | None = None) -> list[list[PairScore]]:
        """One list of scores per group."""
        ...


class _Stopped(Exception):  # noqa: N818  not an error
    """Nobody waits for the chunk any more."""


class LocalExecutor:
    """An `Executor` on one model of this process.

    A chunk that fails `attempts` times is scored row by row: a row that cannot be scored takes no other with it.

    Args:
        scorer: the model.
        attempts: times that a chunk is tried.
        window: chunks that were read and not yet written, at most.
    """

    def __init__(self, scorer: GroupScorer, *, attempts: int = 3, window: int = 3) -> None:
        self._scorer, self._attempts, self._window = scorer, attempts, window
        self.identity: Mapping[str, str | int] = scorer.identity

    def run(self, chunks: Iterator[Chunk]) -> Iterator[ChunkResult]:
        """Score chunks, in order."""
        stopped = Event()
        with ThreadPoolExecutor(1, thread_name_prefix="bulk") as pool:
            try:
                yield from in_order(chunks, lambda chunk: pool.submit(self._result, chunk, stopped), self._window)
            finally:
                stopped.set()

    def _result(self, chunk: Chunk, stopped: Event) -> ChunkResult:
        def check() -> None:
            if stopped.is_set():
                raise _Stopped

        for attempt in range(1, self._attempts + 1):
            check()
            try:
                return _joined(chunk.number, list(self._scorer.score(chunk.groups, check)))
            except _Stopped:
                raise
            except Exception as error:
                _log.warning("chunk %d failed, attempt %d of %d: %s", chunk.number, attempt, self._attempts, error)
        return _joined(chunk.number, [self._alone(group, check) for group in chunk.groups])

    def _alone(self, group: QueryGroup, check: CancelCheck) -> list[PairScore] | RowError:
        check()
        try:
            return self._scorer.score((group,), check)[0]
        except _Stopped:
            raise
        except Exception as error:
            _log.info("a row was set aside: %s", error)
            return RowError.of(error)


def _joined(number: int, found: list[list[PairScore] | RowError] | list[list[PairScore]]) -> ChunkResult:
    outcomes: list[RowResult] = []
    tokens = truncated = 0
    for one in found:
        if isinstance(one, RowError):
            outcomes.append(one)
            continue
        outcomes.append(tuple(score.raw_score for score in one))
        tokens += sum(score.tokens for score in one)
        truncated += sum(score.truncated for score in one)
    return ChunkResult(number, tuple(outcomes), tokens, truncated)
