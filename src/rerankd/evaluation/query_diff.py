"""Single queries worth reading: those that got worse most, and those that got better most."""

from __future__ import annotations

from dataclasses import dataclass

from rerankd.evaluation.comparison import TIE
from rerankd.evaluation.evaluation import DatasetResult


@dataclass(frozen=True, slots=True)
class Move:
    """One document of a query; a rank is None where that system did not rank it."""

    document: str
    text: str
    grade: int
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class Case:
    """One query.

    Attributes:
        query_id: its id.
        query: its text.
        before: the first measure of the baseline.
        after: the first measure of the system.
        moves: the documents, in the order after.
    """

    query_id: str
    query: str
    before: float
    after: float
    moves: tuple[Move, ...]

    @property
    def delta(self) -> float:
        """After minus before."""
        return self.after - self.before


def extreme_cases(
    result: DatasetResult, system: str, baseline: str, count: int = 5
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """The `count` worst and best queries by the first measure, most extreme first; equal ones by id.

    Queries that did not change are left out.
    """
    before, after = result.measured(baseline), result.measured(system)
    deltas = after.values[:, 0] - before.values[:, 0]
    order = sorted(range(len(deltas)), key=lambda i: (deltas[i], result.queries[i]))
    worst = [i for i in order[:count] if deltas[i] < -TIE]
    best = [i for i in sorted(order, key=lambda i: (-deltas[i], result.queries[i]))[:count] if deltas[i] > TIE]

    def case(place: int) -> Case:
        return _case(result, place, baseline, system)

    return tuple(map(case, worst)), tuple(map(case, best))


def _case(result: DatasetResult, place: int, baseline: str, system: str) -> Case:
    dataset, query = result.dataset, result.queries[place]
    first, second = result.measured(baseline), result.measured(system)
    before = {document: rank for rank, document in enumerate(first.system.rankings.get(query, ()), start=1)}
    after = {document: rank for rank, document in enumerate(second.system.rankings.get(query, ()), start=1)}
    grades = dataset.qrels[query]
    moves = tuple(
        Move(
            document,
            dataset.documents.get(document, ""),
            grades.get(document, 0),
            before.get(document),
            after.get(document),
        )
        for document in dict.fromkeys([*after, *before])
    )
    return Case(query, dataset.queries[query], float(first.values[place, 0]), float(second.values[place, 0]), moves)
