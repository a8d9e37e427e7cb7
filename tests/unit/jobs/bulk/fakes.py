"""An executor without a model, a process that dies, and small files to try them on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any
from unittest import mock

from rerankd.engine.request import QueryGroup
from rerankd.errors import RerankdError
from rerankd.jobs.bulk.chunk import Chunk, ChunkResult, RowError, RowResult
from rerankd.jobs.bulk.executor import in_order
from rerankd.jobs.bulk.scorer import CancelCheck
from rerankd.types import PairScore

Rows = list[dict[str, Any]]


class FakeExecutor:
    """Scores that depend on everything in the chunk, so that a run that cuts otherwise shows.

    Args:
        window: chunks under way at most.
        refused: documents that cannot be scored.
        dies: chunk at which nothing can be scored any more.
    """

    def __init__(self, window: int = 3, refused: frozenset[str] = frozenset(), dies: int | None = None) -> None:
        self.identity: Mapping[str, str | int] = {"model": "fake", "version": "1", "policy": "none"}
        self._window, self._refused, self._dies = window, refused, dies
        self.seen: list[Chunk] = []

    def run(self, chunks: Iterator[Chunk]) -> Iterator[ChunkResult]:
        return in_order(chunks, self._submit, self._window)

    def _submit(self, chunk: Chunk) -> Future[ChunkResult]:
        future: Future[ChunkResult] = Future()
        if chunk.number == self._dies:
            future.set_exception(RerankdError("The broker is gone."))
            return future
        self.seen.append(chunk)
        salt = blake2b(chunk.to_bytes()).digest()
        outcomes = tuple(self._outcome(salt, query, documents) for query, documents in chunk.groups)
        future.set_result(ChunkResult(chunk.number, outcomes, chunk.pairs))
        return future

    def _outcome(self, salt: bytes, query: str, documents: Sequence[str]) -> RowResult:
        if self._refused.intersection(documents):
            return RowError("scoring_failed", "No.")
        return tuple(number(salt + f"{query}\0{text}".encode()) for text in documents)


class FakeScorer:
    """A `GroupScorer`: a document's length is its score; some documents fail, always or a number of times."""

    def __init__(self, failing: Callable[[str], bool] = lambda text: False) -> None:
        self.identity: dict[str, str | int] = {"model": "fake"}
        self.calls: list[int] = []
        self._failing = failing

    def score(self, groups: tuple[QueryGroup, ...], check: CancelCheck | None = None) -> list[list[PairScore]]:
        self.calls.append(len(groups))
        if check:
            check()
        if any(self._failing(text) for _, documents in groups for text in documents):
            raise RuntimeError("secret")
        return [[PairScore(len(text), 3, len(text) > 5) for text in documents] for _, documents in groups]


def number(data: bytes) -> float:
    return int.from_bytes(blake2b(data, digest_size=2).digest()) / 4096 - 8


class Crash(BaseException):
    """The process is dead; nothing that it does afterwards happens."""


@contextmanager
def dying(after: int) -> Iterator[None]:
    """Let a number of changes to files through, do half of the next write, and nothing any more."""
    left = after

    def wrapped(name: str) -> Any:
        real = getattr(os, name)

        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left >= 0:
                return real(*arguments, **named)
            if left == -1 and name == "write":
                real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            raise Crash

        return mock.patch.object(os, name, call)

    with wrapped("write"), wrapped("fsync"), wrapped("replace"), wrapped("ftruncate"), wrapped("unlink"):
        yield


def write_rows(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def read_rows(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]


def pair_rows(count: int) -> Rows:
    return [{"id": f"p{n}", "query": f"q{n % 3}", "document": f"d{n % 7}"} for n in range(count)]


def query_rows(counts: list[int]) -> Rows:
    return [{"query": f"q{n}", "documents": [f"d{k}" for k in range(count)]} for n, count in enumerate(counts)]
