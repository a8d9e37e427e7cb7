"""The common part of the integrations: anything that ranks, and the choice of the documents to keep."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any, Protocol, runtime_checkable

from rerankd.types import Document, RerankResult


@runtime_checkable
class Ranker(Protocol):
    """A `Reranker`, a `Client`, or your own object that ranks.

    Example:
        >>> isinstance(LocalRanker("mini"), Ranker)
        True
    """

    def rank(self, query: str, documents: Sequence[Document], top_n: int | None, /) -> RerankResult:
        """Return the best `top_n` documents, best first; None returns all."""
        ...


class LocalRanker:
    """A `Reranker` that is loaded at its first use. Thread-safe.

    Args:
        model: model, as for `Reranker`.

    Example:
        >>> LocalRanker("mini").rank("panda food", [Document("Cars."), Document("Pandas eat bamboo.")], 1)[0].index
        1
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self._lock = Lock()
        self._loaded: Ranker | None = None

    def load(self) -> Ranker:
        """Load the model, unless it is loaded, and return its reranker."""
        from rerankd.reranker import Reranker

        with self._lock:
            if self._loaded is None:
                self._loaded = Reranker(self.model)
            return self._loaded

    def rank(
        self, query: str, documents: Sequence[Document], top_n: int | None, /, *, instruction: str | None = None
    ) -> RerankResult:
        """Rank documents, see `Reranker.rank`."""
        return _rank(self.load(), query, documents, top_n, instruction)


def _rank(
    ranker: Any, query: str, documents: Sequence[Document], top_n: int | None, instruction: str | None
) -> RerankResult:
    """Rank documents; a ranker is passed an instruction only where there is one, since not every one takes it."""
    options = {} if instruction is None else {"instruction": instruction}
    result: RerankResult = ranker.rank(query, documents, top_n, **options)
    return result


def kept(
    ranker: Ranker,
    query: str,
    texts: Sequence[str],
    top_n: int | None,
    score_threshold: float | None,
    instruction: str | None = None,
) -> list[tuple[int, float]]:
    """Rank texts and return those to keep.

    Args:
        ranker: the ranker.
        query: the query.
        texts: the candidates.
        top_n: number of texts to keep; None keeps all.
        score_threshold: lowest relevance score to keep; None keeps all.
        instruction: what counts as relevant; None for the ranker's own.

    Returns:
        (position in `texts`, relevance score) of the texts to keep, best first. The ranker is not called without texts.

    Example:
        >>> kept(LocalRanker("mini"), "q", [], 5, None)
        []
    """
    if not texts:
        return []
    result = _rank(ranker, query, [Document(text) for text in texts], top_n, instruction)
    lowest = float("-inf") if score_threshold is None else score_threshold
    return [(ranked.index, ranked.relevance_score) for ranked in result if ranked.relevance_score >= lowest]
