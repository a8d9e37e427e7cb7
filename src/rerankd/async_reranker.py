"""The reranker for asyncio programs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from rerankd._common.validation import DocumentLike
from rerankd.reranker import DEFAULT_TOP_N, Reranker
from rerankd.types import RerankResult

T = TypeVar("T")


class AsyncReranker:
    """A reranker for asyncio programs: the methods of `Reranker` with `await`, computed in one worker thread.

    Args:
        reranker: the reranker to use; other threads may use it too.

    Example:
        >>> async def main() -> int:
        ...     async with AsyncReranker(Reranker()) as reranker:
        ...         return (await reranker.rank("panda food", ["Pandas eat bamboo.", "Cars."]))[0].index
        >>> asyncio.run(main())
        0
    """

    def __init__(self, reranker: Reranker) -> None:
        self.reranker = reranker
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="rerankd")

    async def rank(
        self, query: str, documents: Iterable[DocumentLike], top_n: int | None = DEFAULT_TOP_N, **options: Any
    ) -> RerankResult:
        """Rank documents, see `Reranker.rank`."""
        return await self._call(lambda: self.reranker.rank(query, documents, top_n, **options))

    async def rank_batch(
        self,
        queries: Sequence[str],
        documents: Sequence[Iterable[DocumentLike]],
        top_n: int | None = DEFAULT_TOP_N,
        **options: Any,
    ) -> list[RerankResult]:
        """Rank several queries, see `Reranker.rank_batch`."""
        return await self._call(lambda: self.reranker.rank_batch(queries, documents, top_n, **options))

    async def score(self, pairs: Iterable[tuple[str, str]], **options: Any) -> npt.NDArray[np.float64]:
        """Score pairs, see `Reranker.score`."""
        return await self._call(lambda: self.reranker.score(pairs, **options))

    async def _call(self, method: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, method)

    def close(self) -> None:
        """Wait for the calls that have begun, and end the worker thread."""
        self._worker.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
