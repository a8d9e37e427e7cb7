"""Leakage: training examples whose query also occurs, perhaps in other words, in an evaluation set."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rerankd.evaluation.dataset import Dataset
from rerankd.retrieval.duplicates import shingles
from rerankd.training.examples import Example, normalize

_MARK = re.compile(r"\d+(?:[.,]\d+)*|[+#<>=≤≥%$€¥&]")
NEAR = 0.8  # Jaccard similarity of word 3-grams from which two queries are nearly the same


@dataclass(frozen=True, slots=True)
class LeakReport:
    """Examples after comparison with evaluation sets.

    Attributes:
        kept: examples whose query is in no evaluation set.
        same: number excluded because a set has the same query, up to case, width and spaces.
        near: number excluded because a set has nearly the same query.
        shared: number of kept examples with a positive that is also relevant to another query of a set. They are kept,
            because sets with several queries per passage share their positives with the rest of their collection.
    """

    kept: list[Example]
    same: int = 0
    near: int = 0
    shared: int = 0

    @property
    def leaked(self) -> int:
        """Number of excluded examples."""
        return self.same + self.near


def exclude_leaks(examples: Iterable[Example], evaluation_sets: Sequence[Dataset]) -> LeakReport:
    """Exclude examples whose query, or nearly the same query, is in an evaluation set.

    Two queries are nearly the same if 80 % of their 3-grams of words or Han characters are shared, and all numbers and
    signs such as + and > are equal. Punctuation is ignored; queries of up to three words must have the same words.

    Example:
        >>> dataset = Dataset("zoo", {"1": "What do pandas eat?"}, {}, {}, {}, "")
        >>> examples = [Example("what do pandas eat", ("bamboo",)), Example("what do cats eat", ("fish",))]
        >>> report = exclude_leaks(examples, [dataset])
        >>> [example.query for example in report.kept], report.same, report.near
        (['what do cats eat'], 0, 1)
    """
    queries = {normalize(text) for dataset in evaluation_sets for text in dataset.queries.values()}
    answers, index = _relevant_texts(evaluation_sets), _QueryIndex(queries)
    kept, same, near, shared = list[Example](), 0, 0, 0
    for example in examples:
        if example.key in queries:
            same += 1
        elif index.has_near(example.key):
            near += 1
        else:
            kept.append(example)
            shared += any(normalize(text) in answers for text in example.positives)
    return LeakReport(kept, same, near, shared)


def _relevant_texts(evaluation_sets: Sequence[Dataset]) -> set[str]:
    texts = set()
    for dataset in evaluation_sets:
        for judged in dataset.qrels.values():
            relevant = (dataset.documents.get(document) for document, grade in judged.items() if grade > 0)
            texts |= {normalize(text) for text in relevant if text}
    return texts


class _QueryIndex:
    """Queries by their word 3-grams."""

    def __init__(self, queries: Iterable[str]) -> None:
        self._sizes: list[int] = []
        self._marks: list[list[str]] = []
        self._postings: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, query in enumerate(queries):
            grams = shingles(query)
            self._sizes.append(len(grams))
            self._marks.append(_marks(query))
            for gram in grams:
                self._postings[gram].append(number)

    def has_near(self, query: str) -> bool:
        grams, marks = shingles(query), _marks(query)
        common = Counter(number for gram in grams if any(gram) for number in self._postings.get(gram, ()))
        return any(
            count >= NEAR * (len(grams) + self._sizes[number] - count) and self._marks[number] == marks
            for number, count in common.items()
        )


def _marks(query: str) -> list[str]:
    """Return the numbers and signs of a query, which alone may distinguish two questions."""
    return sorted(_MARK.findall(query))
