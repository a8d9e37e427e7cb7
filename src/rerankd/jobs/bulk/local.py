"""Executor in this process: one chunk is scored while earlier ones are written and later ones are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Protocol

from rerankd._common.backoff import Backoff
from rerankd._common.logging import logger
from rerankd.engine.request import QueryGroup
from rerankd.jobs.bulk.chunk import Chunk, ChunkResult, RowError, RowResult
from rerankd.jobs.bulk.executor import in_order
from rerankd.jobs.bulk.scorer import CancelCheck
from rerankd.types import PairScore

BACKOFF = Backoff(attempts=3, first=0.1, longest=2.0)

_log = logger(__name__)


class GroupScorer(Protocol):
    """Scores groups; see `rerankd.jobs.bulk.scorer.PairScorer`."""

    identity: dict[str, str | int]

    def score(self, groups: tuple[QueryGroup, ...], check: CancelCheck | None = None) -> list[list[PairScore]]:
        """Return one list of scores per group."""
        ...


class _Cancelled(Exception):  # noqa: N818  not an error
    """Signal that nobody waits for the chunk any more."""


class LocalExecutor:
    """An `Executor` on one model of this process.

    A chunk that fails in every attempt is scored row by row, so that one bad row does not cost the others their scores.

    Args:
        scorer: scorer of the model.
        backoff: attempts for a chunk, and the pauses between them.
        window: largest number of chunks that were read and not yet written.
    """

    def __init__(self, scorer: GroupScorer, *, backoff: Backoff = BACKOFF, window: int = 3) -> None:
        self._scorer, self._backoff, self._window = scorer, backoff, window
        self.identity: Mapping[str, str | int] = scorer.identity

    def run(self, chunks: Iterator[Chunk]) -> Iterator[ChunkResult]:
        """Score chunks, and yield the results in order."""
        stopped = Event()
        with ThreadPoolExecutor(1, thread_name_prefix="bulk") as pool:
            try:
                yield from in_order(chunks, lambda chunk: pool.submit(self._result, chunk, stopped), self._window)
            finally:
                stopped.set()

    def _result(self, chunk: Chunk, stopped: Event) -> ChunkResult:
        def check() -> None:
            if stopped.is_set():
                raise _Cancelled

        pauses = self._backoff.pauses()
        while True:
            check()
            try:
                return _chunk_result(chunk.number, list(self._scorer.score(chunk.groups, check)))
            except _Cancelled:
                raise
            except Exception as error:
                pause = next(pauses, None)
                action = "scoring it row by row" if pause is None else "trying again"
                _log.warning("chunk %d failed, %s: %s", chunk.number, action, error)
            if pause is None:
                return _chunk_result(chunk.number, [self._score_row(group, check) for group in chunk.groups])
            stopped.wait(pause)

    def _score_row(self, group: QueryGroup, check: CancelCheck) -> list[PairScore] | RowError:
        check()
        try:
            return self._scorer.score((group,), check)[0]
        except _Cancelled:
            raise
        except Exception as error:
            _log.info("a row cannot be scored: %s", error)
            return RowError.of(error)


def _chunk_result(number: int, rows: list[list[PairScore] | RowError] | list[list[PairScore]]) -> ChunkResult:
    outcomes: list[RowResult] = []
    tokens = truncated = 0
    for row in rows:
        if isinstance(row, RowError):
            outcomes.append(row)
            continue
        outcomes.append(tuple(score.raw_score for score in row))
        tokens += sum(score.tokens for score in row)
        truncated += sum(score.truncated for score in row)
    return ChunkResult(number, tuple(outcomes), tokens, truncated)
