"""Labelled cases as a dataset in memory: each is a query, and its candidates keep the order of the request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rerankd.evaluation.dataset import Dataset
from rerankd.feedback.cases import BadCase, CaseCandidate

_PREFIX = "case-"


def case_dataset(cases: Iterable[BadCase], name: str, *, depth: int) -> Dataset:
    """Return cases as a dataset.

    Query ids are `case-NUMBER`, document ids `NUMBER-INDEX`, so that results hold no id that a request gave. A text
    that a case has several times is one document, at its highest rank, with the highest of its grades.

    Args:
        cases: cases; those without grades, or whose query was erased, are left out.
        name: name of the dataset.
        depth: candidates of a case at most.
    """
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    rankings: dict[str, tuple[str, ...]] = {}
    for case in cases:
        copies = _copies(case)
        grades = {
            document_id_of(case.id, same[0].index): grade
            for same in copies
            if (grade := max((one.grade for one in same if one.grade is not None), default=None)) is not None
        }
        if case.query is None or not grades:
            continue
        query_id = query_id_of(case.id)
        texts = {document_id_of(case.id, same[0].index): same[0].text or "" for same in copies}
        ranking = tuple(texts)[:depth]
        queries[query_id], qrels[query_id], rankings[query_id] = case.query, grades, ranking
        documents |= {doc_id: texts[doc_id] for doc_id in ranking}
    return Dataset(name, queries, documents, qrels, rankings, "order of the request")


def query_id_of(number: int) -> str:
    """Return the query id of a case.

    Example:
        >>> query_id_of(7), case_number("case-7"), document_id_of(7, 3), candidate_index("7-3")
        ('case-7', 7, '7-3', 3)
    """
    return f"{_PREFIX}{number}"


def case_number(query_id: str) -> int:
    """Return the number of the case that is a query."""
    return int(query_id.removeprefix(_PREFIX))


def document_id_of(number: int, index: int) -> str:
    """Return the document id of a candidate, by the number of its case and its position in the request."""
    return f"{number}-{index}"


def candidate_index(doc_id: str) -> int:
    """Return the position in the request of the candidate that is a document."""
    return int(doc_id.rpartition("-")[2])


def _copies(case: BadCase) -> list[Sequence[CaseCandidate]]:
    """Return the candidates of each text, the texts in the order of the request."""
    by_text: dict[str, list[CaseCandidate]] = {}
    for candidate in sorted(case.candidates, key=lambda one: one.rank_before):
        if candidate.text is not None:
            by_text.setdefault(candidate.text, []).append(candidate)
    return list(by_text.values())
