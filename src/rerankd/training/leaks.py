"""What training must not see: the queries that a candidate will be judged on, also where they are written otherwise."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rerankd.evaluation.dataset import Dataset
from rerankd.retrieval.duplicates import shingles
from rerankd.training.examples import Example, comparable

_MARK = re.compile(r"\d+(?:[.,]\d+)*|[+#<>=≤≥%$€¥&]")
NEAR = 0.8  # of the runs of three words that either has, both have


@dataclass(frozen=True, slots=True)
class Checked:
    """Examples that were compared with evaluation sets.

    Attributes:
        kept: those whose query no set asks.
        same: how many were left out because a set asks the same, but for case, width and spaces.
        near: how many because a set asks nearly the same.
        shared: how many of the kept have an answer that is an answer in a set, to another question. They stay: sets
            that ask several things of one passage share all their answers with the rest of their collection.
    """

    kept: list[Example]
    same: int = 0
    near: int = 0
    shared: int = 0

    @property
    def leaked(self) -> int:
        """How many were left out."""
        return self.same + self.near


def without_leaks(examples: Iterable[Example], evaluated: Sequence[Dataset]) -> Checked:
    """Leave out what evaluation sets ask, word for word or nearly.

    Two queries are nearly the same where 80 % of their runs of three words, or Han characters, are in both, and so are
    all numbers and signs such as + and >. Punctuation is no word; of up to three words all have to be the same.

    Example:
        >>> asked = Dataset("zoo", {"1": "What do pandas eat?"}, {}, {}, {}, "")
        >>> examples = [Example("what do pandas eat", ("bamboo",)), Example("what do cats eat", ("fish",))]
        >>> checked = without_leaks(examples, [asked])
        >>> [one.query for one in checked.kept], checked.same, checked.near
        (['what do cats eat'], 0, 1)
    """
    queries = {comparable(text) for dataset in evaluated for text in dataset.queries.values()}
    answers, index = _answers(evaluated), _Index(queries)
    kept, same, near, shared = list[Example](), 0, 0, 0
    for example in examples:
        if example.key in queries:
            same += 1
        elif index.has(example.key):
            near += 1
        else:
            kept.append(example)
            shared += any(comparable(text) in answers for text in example.positives)
    return Checked(kept, same, near, shared)


def _answers(evaluated: Sequence[Dataset]) -> set[str]:
    found = set()
    for dataset in evaluated:
        for judged in dataset.qrels.values():
            relevant = (dataset.documents.get(document) for document, grade in judged.items() if grade > 0)
            found |= {comparable(text) for text in relevant if text}
    return found


class _Index:
    """Queries by their runs of words."""

    def __init__(self, queries: Iterable[str]) -> None:
        self._sizes: list[int] = []
        self._marks: list[list[str]] = []
        self._places: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for place, query in enumerate(queries):
            own = shingles(query)
            self._sizes.append(len(own))
            self._marks.append(_marks(query))
            for one in own:
                self._places[one].append(place)

    def has(self, query: str) -> bool:
        own, marks = shingles(query), _marks(query)
        common = Counter(place for one in own if any(one) for place in self._places.get(one, ()))
        return any(
            count >= NEAR * (len(own) + self._sizes[place] - count) and self._marks[place] == marks
            for place, count in common.items()
        )


def _marks(query: str) -> list[str]:
    """Numbers and signs, by which questions differ that are alike in all else."""
    return sorted(_MARK.findall(query))
