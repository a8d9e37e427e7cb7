"""Queries that changed most between two runs: the worst losses and the best gains."""

from __future__ import annotations

from dataclasses import dataclass

from rerankd.evaluation.comparison import TIE
from rerankd.evaluation.evaluation import DatasetResult


@dataclass(frozen=True, slots=True)
class RankChange:
    """Rank of one document in both runs.

    Attributes:
        doc_id: id of the document.
        text: its text.
        grade: its grade; 0 if it is not judged.
        before: rank in the baseline, from 1; None if it was not ranked.
        after: rank in the run, from 1; None if it was not ranked.
    """

    doc_id: str
    text: str
    grade: int
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class QueryChange:
    """Change of one query between two runs.

    Attributes:
        query_id: id of the query.
        query: its text.
        before: first measure of the baseline.
        after: first measure of the run.
        documents: rank of each document, in the order of the run.
    """

    query_id: str
    query: str
    before: float
    after: float
    documents: tuple[RankChange, ...]

    @property
    def delta(self) -> float:
        """Difference of the first measure, after minus before."""
        return self.after - self.before

    def left_first(self, depth: int) -> tuple[RankChange, ...]:
        """Return the documents that were among the first of the baseline and are not among those of the run.

        Args:
            depth: number of first ranks.
        """
        left = [
            document
            for document in self.documents
            if document.before is not None
            and document.before <= depth
            and (document.after is None or document.after > depth)
        ]
        return tuple(sorted(left, key=lambda document: document.before or 0))


def largest_changes(
    result: DatasetResult, run: str, baseline: str, count: int = 5
) -> tuple[tuple[QueryChange, ...], tuple[QueryChange, ...]]:
    """Return the queries that lost most and those that gained most by the first measure.

    Args:
        result: measures of a dataset.
        run: name of the run.
        baseline: name of the baseline.
        count: maximum number of queries of each kind.

    Returns:
        Losses and gains, the largest first, ties by query id. Queries without a change are left out.
    """
    deltas = result.run(run).values[:, 0] - result.run(baseline).values[:, 0]
    rows = range(len(deltas))
    losses = sorted(rows, key=lambda row: (deltas[row], result.query_ids[row]))[:count]
    gains = sorted(rows, key=lambda row: (-deltas[row], result.query_ids[row]))[:count]
    return (
        tuple(_query_change(result, row, run, baseline) for row in losses if deltas[row] < -TIE),
        tuple(_query_change(result, row, run, baseline) for row in gains if deltas[row] > TIE),
    )


def _query_change(result: DatasetResult, row: int, run: str, baseline: str) -> QueryChange:
    dataset, query_id = result.dataset, result.query_ids[row]
    before, after = result.run(baseline), result.run(run)
    ranks_before = {doc_id: rank for rank, doc_id in enumerate(before.run.rankings.get(query_id, ()), start=1)}
    ranks_after = {doc_id: rank for rank, doc_id in enumerate(after.run.rankings.get(query_id, ()), start=1)}
    grades = dataset.qrels[query_id]
    documents = tuple(
        RankChange(
            doc_id=doc_id,
            text=dataset.documents.get(doc_id, ""),
            grade=grades.get(doc_id, 0),
            before=ranks_before.get(doc_id),
            after=ranks_after.get(doc_id),
        )
        for doc_id in dict.fromkeys([*ranks_after, *ranks_before])
    )
    return QueryChange(
        query_id=query_id,
        query=dataset.queries[query_id],
        before=float(before.values[row, 0]),
        after=float(after.values[row, 0]),
        documents=documents,
    )
