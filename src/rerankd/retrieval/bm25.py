"""BM25 in memory: a bm25s index for evaluation and training, and a plain function for a handful of documents.

    score(q, d) = sum over t in q of idf(t) * tf(t, d) * (k1 + 1) / (tf(t, d) + k1 * (1 - b + b * |d| / avgdl))
    idf(t)      = ln(1 + (N - df(t) + 0.5) / (df(t) + 0.5))

Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", with Lucene's idf, which cannot
be negative. In bm25s' terms that is `method="atire"` with `idf_method="lucene"`. Both implementations cut texts with
`keywords()`. There are two because bm25s comes with an extra and the demo runs on the base install; a test holds their
orders together. Neither is an index for a product's collection; see `rerankd.retrieval.lance`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd._common.optional import require
from rerankd.retrieval.keywords import keywords

K1 = 1.2
B = 0.75


class BM25Index:
    """An inverted index over documents in memory; a query costs as much as its postings are long.

    Args:
        documents: texts to index.

    Raises:
        MissingDependencyError: the extra `eval` is not installed.

    Example:
        >>> BM25Index(["a red car", "a pear"]).rank("red pear car")
        [0, 1]
    """

    def __init__(self, documents: Sequence[str]) -> None:
        bm25s = require("bm25s", "eval", "BM25 in memory")
        tokens = [keywords(text) for text in documents]
        self._documents = len(documents)
        self._index: Any = None
        if any(tokens):
            self._index = bm25s.BM25(k1=K1, b=B, method="atire", idf_method="lucene", dtype="float64")
            self._index.index(tokens, show_progress=False)

    def scores(self, query: str) -> npt.NDArray[np.float64]:
        """Return the score of each document, shape (documents,); 0 without a common term.

        A term that occurs twice in the query counts twice.
        """
        token_ids = self._index.get_tokens_ids(keywords(query)) if self._index is not None else []
        if not token_ids:
            return np.zeros(self._documents)
        scores: npt.NDArray[np.float64] = self._index.get_scores_from_ids(token_ids)
        return scores

    def rank(self, query: str, k: int | None = None) -> list[int]:
        """Return the positions of the documents with a common term, best first, ties in order of position.

        Args:
            query: the query.
            k: maximum number of documents; None for all.
        """
        scores = self.scores(query)
        matching = np.flatnonzero(scores > 0)
        if k is not None and k < len(matching):  # the k-th best and everything that ties with it
            lowest = np.partition(scores[matching], len(matching) - k)[len(matching) - k]
            matching = matching[scores[matching] >= lowest]
        ranking: list[int] = matching[np.argsort(-scores[matching], kind="stable")].tolist()
        return ranking[:k]


def rank_by_bm25(query: str, documents: Sequence[str]) -> list[int]:
    """Rank a handful of documents without any extra, as the demo does; reads every document for every query.

    Returns:
        Positions of all documents, best first, ties in order of position.

    Example:
        >>> rank_by_bm25("red pear car", ["a red car", "a pear"])
        [0, 1]
    """
    counts = [Counter(keywords(text)) for text in documents]
    lengths = [count.total() for count in counts]
    mean_length = sum(lengths) / max(1, len(documents))
    document_frequency = Counter(term for count in counts for term in count)

    def score(position: int) -> float:
        total = 0.0
        for term in keywords(query):
            if not (frequency := counts[position][term]):
                continue
            df = document_frequency[term]
            idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
            norm = 1 - B + B * lengths[position] / mean_length
            total += idf * (frequency * (K1 + 1) / (frequency + K1 * norm))
        return total

    scores = [score(position) for position in range(len(documents))]
    return sorted(range(len(documents)), key=lambda position: (-scores[position], position))
