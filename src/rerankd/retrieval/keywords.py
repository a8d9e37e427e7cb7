"""BM25 over a handful of documents in memory: the first stage of the demo. Not an index for a collection."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_PIECE = re.compile(r"[㐀-鿿]+|[^\W㐀-鿿]+")


def keywords(text: str) -> list[str]:
    """Latin words in lower case; Han text as single characters and neighbouring pairs.

    Example:
        >>> keywords("iPhone 手机壳")
        ['iphone', '手', '机', '壳', '手机', '机壳']
    """
    tokens: list[str] = []
    for piece in _PIECE.findall(text.lower()):
        if is_han(piece):
            tokens += [*piece, *(piece[i : i + 2] for i in range(len(piece) - 1))]
        else:
            tokens.append(piece)
    return tokens


def is_han(word: str) -> bool:
    """Whether a word begins with a Han character; then it is nothing else."""
    return "㐀" <= word[0] <= "鿿"


class KeywordIndex:
    """BM25 (Robertson and Zaragoza 2009) with k1 = 1.2 and b = 0.75.

    Args:
        documents: the texts to rank.

    Example:
        >>> KeywordIndex(["a red car", "a pear"]).rank("red pear car")
        [0, 1]
    """

    def __init__(self, documents: Sequence[str], *, k1: float = 1.2, b: float = 0.75) -> None:
        self._counts = [Counter(keywords(text)) for text in documents]
        self._lengths = [counts.total() for counts in self._counts]
        self._mean = sum(self._lengths) / max(1, len(documents))
        self._document_frequency = Counter(token for counts in self._counts for token in counts)
        self._k1, self._b = k1, b

    def scores(self, query: str) -> list[float]:
        """BM25 score of each document."""
        tokens = keywords(query)
        return [sum(self._weight(token, i) for token in tokens) for i in range(len(self._counts))]

    def rank(self, query: str) -> list[int]:
        """Places of the documents, best first; ties in order."""
        scores = self.scores(query)
        return sorted(range(len(scores)), key=lambda i: (-scores[i], i))

    def _weight(self, token: str, i: int) -> float:
        frequency = self._counts[i][token]
        if not frequency:
            return 0.0
        df = self._document_frequency[token]
        idf = math.log(1 + (len(self._counts) - df + 0.5) / (df + 0.5))
        norm = 1 - self._b + self._b * self._lengths[i] / self._mean
        return idf * frequency * (self._k1 + 1) / (frequency + self._k1 * norm)
