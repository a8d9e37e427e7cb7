"""Candidates for collections that come without a run: BM25 in memory, for small collections only."""

from __future__ import annotations

from collections.abc import Mapping

from rerankd.errors import InvalidRequestError
from rerankd.retrieval.bm25 import BM25Index

MAX_WORK = 50_000_000  # queries times documents
DEPTH = 50


def bm25_candidates(
    queries: Mapping[str, str], documents: Mapping[str, str], depth: int = DEPTH
) -> dict[str, tuple[str, ...]]:
    """Return the best documents of each query by BM25; documents without a common term are left out.

    Args:
        queries: text by query id.
        documents: text by document id.
        depth: maximum number of candidates per query.

    Returns:
        Document ids by query id, best first, ties in the order of `documents`.

    Raises:
        InvalidRequestError: queries times documents exceeds `MAX_WORK`.
        MissingDependencyError: the extra `eval` is not installed.

    Example:
        >>> bm25_candidates({"q": "red pear"}, {"a": "a car", "b": "a pear"})
        {'q': ('b',)}
    """
    if len(queries) * len(documents) > MAX_WORK:
        raise InvalidRequestError(
            f"{len(documents):,} documents and {len(queries):,} queries are too many for BM25 in memory.",
            hint="Pass the run of your first stage with --candidates, or fewer queries with --max-queries.",
        )
    index, doc_ids = BM25Index(list(documents.values())), list(documents)
    return {
        query_id: tuple(doc_ids[position] for position in index.rank(query, depth))
        for query_id, query in queries.items()
    }
