"""Texts of evaluations: read from the dataset, or from the cases, each time they are shown; results have none."""

from __future__ import annotations

from collections.abc import Sequence

from rerankd.errors import NotFoundError
from rerankd.evaluation.case_dataset import candidate_index, case_number
from rerankd.evaluation.saved import SavedEvaluation
from rerankd.feedback.case_store import get_cases
from rerankd.server.evaluation_service import EvaluationService
from rerankd.server.trace_service import TraceService

Texts = dict[str, str | None]


class EvaluationTexts:
    """Reads texts of datasets and cases; every method blocks.

    Args:
        traces: database of the cases.
        evaluations: knows the folders.
    """

    def __init__(self, traces: TraceService, evaluations: EvaluationService) -> None:
        self._traces, self._evaluations = traces, evaluations

    def queries(self, saved: SavedEvaluation, ids: Sequence[str], tenant: str | None) -> Texts:
        """Return the texts of queries by id; those that are gone, or another tenant's, are missing."""
        if saved.plan.source == "folder":
            return self._of_folder(saved, "queries", ids)
        numbers = {case_number(query_id): query_id for query_id in ids}
        return {numbers[case.id]: case.query for case in get_cases(self._traces.store, list(numbers), tenant)}

    def titles(self, saved: SavedEvaluation, ids: Sequence[str]) -> list[str]:
        """Return a name for every query: its text, where that is at hand, or its id."""
        texts = self._of_folder(saved, "queries", ids) if saved.plan.source == "folder" else {}
        return [texts.get(query_id) or query_id for query_id in ids]

    def query(
        self, saved: SavedEvaluation, query_id: str, doc_ids: Sequence[str], tenant: str | None
    ) -> tuple[str | None, Texts]:
        """Return the text of a query and those of documents by id."""
        if saved.plan.source == "folder":
            text = self._of_folder(saved, "queries", [query_id]).get(query_id)
            return text, self._of_folder(saved, "corpus", doc_ids)
        cases = get_cases(self._traces.store, [case_number(query_id)], tenant)
        if not cases:
            return None, {}
        by_index = {candidate.index: candidate.text for candidate in cases[0].candidates}
        return cases[0].query, {doc_id: by_index.get(candidate_index(doc_id)) for doc_id in doc_ids}

    def _of_folder(self, saved: SavedEvaluation, kind: str, ids: Sequence[str]) -> Texts:
        try:
            folder = self._evaluations.datasets.folder(saved.plan.dataset)
        except NotFoundError:  # it was moved, or is not allowed any more
            return {}
        return dict(self._evaluations.datasets.texts.read(folder.path, kind, ids))
