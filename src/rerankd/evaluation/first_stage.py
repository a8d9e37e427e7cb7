"""A first stage for collections that come without one: BM25 in memory, for small collections only."""

from __future__ import annotations

from collections.abc import Mapping

from rerankd.errors import InvalidRequestError
from rerankd.retrieval.keywords import KeywordIndex

MAX_WORK = 50_000_000  # queries times documents: a few minutes
DEPTH = 50


def keyword_candidates(
    queries: Mapping[str, str], documents: Mapping[str, str], depth: int = DEPTH
) -> dict[str, tuple[str, ...]]:
    """The `depth` best documents of each query by BM25; documents that share no word with it are left out.

    Raises:
        InvalidRequestError: too much for a collection held in memory.

    Example:
        >>> keyword_candidates({"q": "red pear"}, {"a": "a car", "b": "a pear"})
        {'q': ('b',)}
    """
    if len(queries) * len(documents) > MAX_WORK:
        raise InvalidRequestError(
            f"{len(documents):,} documents and {len(queries):,} queries are too many for BM25 in memory.",
            hint="Pass the run of your first stage with --candidates, or fewer queries with --max-queries.",
        )
    index, ids = KeywordIndex(list(documents.values())), list(documents)
    found = {}
    for query_id, query in queries.items():
        scores = index.scores(query)
        order = sorted((i for i, score in enumerate(scores) if score > 0), key=lambda i: (-scores[i], i))
        found[query_id] = tuple(ids[i] for i in order[:depth])
    return found
