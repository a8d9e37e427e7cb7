"""Checks of a judged collection: judged documents that it does not have, and queries that are documents of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from rerankd._common.plural import counted
from rerankd.errors import InvalidInputFileError
from rerankd.evaluation.trec import Qrels, Rankings


def is_own_document(query_id: str, doc_id: str, qrels: Qrels) -> bool:
    """Return True if a document is the query itself, which must not be among its results.

    In ArguAna and others the queries are documents of the corpus, under the same ids. BEIR's `EvaluateRetrieval` leaves
    such a pair out. A pair that is judged relevant is kept here, unlike in BEIR: there the ids of two different things
    are equal, as where question 7 belongs to answer 7.

    Example:
        >>> is_own_document("7", "7", {"7": {"8": 1}}), is_own_document("7", "7", {"7": {"7": 1}})
        (True, False)
    """
    return query_id == doc_id and qrels.get(query_id, {}).get(doc_id, 0) <= 0


def without_own_documents(rankings: Rankings, qrels: Qrels) -> dict[str, tuple[str, ...]]:
    """Return rankings without the documents that are their query, see `is_own_document`.

    Example:
        >>> without_own_documents({"a": ("a", "b"), "c": ("a",)}, {"a": {"b": 1}})
        {'a': ('b',), 'c': ('a',)}
    """
    return {
        query_id: tuple(doc_id for doc_id in ranking if not is_own_document(query_id, doc_id, qrels))
        for query_id, ranking in rankings.items()
    }


def own_document_notice(rankings: Iterable[Rankings], qrels: Qrels) -> str:
    """Return a sentence on the queries that are among their own results; empty if there are none."""
    queries = {
        query_id
        for ranking_of in rankings
        for query_id in qrels
        if query_id in ranking_of.get(query_id, ()) and is_own_document(query_id, query_id, qrels)
    }
    if not queries:
        return ""
    subject = counted(len(queries), "query is a document", "queries are documents")
    return f"{subject} of the corpus, by id; a query is left out of its own results, as in BEIR."


def check_judged_documents(folder: Path, in_corpus: Mapping[str, bool]) -> str:
    """Return a sentence on judged documents that the corpus does not have; empty if it has all.

    Args:
        folder: folder of the collection.
        in_corpus: ids of the judged documents, with True for those that the corpus has.

    Raises:
        InvalidInputFileError: it has none of them, so that every measure would be 0.
    """
    missing = [doc_id for doc_id, is_there in in_corpus.items() if not is_there]
    if not missing:
        return ""
    if len(missing) == len(in_corpus):
        raise InvalidInputFileError(
            f"{folder}: none of the {len(missing):,} judged documents is in the corpus, among them {min(missing)}.",
            hint="Check that judgements and corpus use the same document ids.",
        )
    return (
        f"{len(missing):,} of {len(in_corpus):,} judged documents are not in the corpus, among them {min(missing)}; "
        "those that are relevant count as not found."
    )


def unranked_notice(qrels: Qrels, rankings: Iterable[Mapping[str, Collection[str]]]) -> str:
    """Return a sentence if no ranking has any relevant document, so that every measure is 0; empty otherwise."""
    relevant = {
        query_id: {doc_id for doc_id, grade in grades.items() if grade > 0} for query_id, grades in qrels.items()
    }
    runs = list(rankings)
    if not any(relevant.values()) or not any(ranking for run in runs for ranking in run.values()):
        return ""
    if any(relevant[query_id].intersection(run.get(query_id, ())) for run in runs for query_id in relevant):
        return ""
    return "No relevant document is in any ranking; check that judgements and runs use the same document ids."
