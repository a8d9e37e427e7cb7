"""Datasets that a service evaluates on: BEIR folders that its operator allows, and the labelled cases of a tenant."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from rerankd.errors import InvalidRequestError
from rerankd.evaluation.case_dataset import case_dataset
from rerankd.evaluation.dataset import Dataset, DatasetOptions
from rerankd.evaluation.folders import DatasetFolder, TextCache, find_folder, find_folders, text_file
from rerankd.evaluation.read_process import read_dataset
from rerankd.evaluation.saved import EvaluationPlan
from rerankd.feedback.case_export import with_feedback
from rerankd.feedback.case_store import CaseFilter, iter_cases
from rerankd.server.trace_service import TraceService
from rerankd.settings import Settings

CASES = "cases"


class EvaluationDatasets:
    """Finds and reads datasets; every method blocks.

    Args:
        settings: settings of the service; they name the folders.
        traces: database of the cases.

    Attributes:
        texts: texts of the folders.
    """

    def __init__(self, settings: Settings, traces: TraceService) -> None:
        self._settings, self._traces = settings, traces
        self.texts = TextCache()

    def folders(self) -> list[DatasetFolder]:
        """Return the BEIR folders that administrators may evaluate on."""
        return find_folders(self._settings.evaluation_folders)

    def folder(self, name: str) -> DatasetFolder:
        """Return one of these folders.

        Raises:
            NotFoundError: there is no such folder.
        """
        return find_folder(self._settings.evaluation_folders, name)

    def read(self, plan: EvaluationPlan, tenant: str | None) -> Dataset:
        """Read the dataset of a plan.

        Args:
            plan: what is evaluated.
            tenant: tenant whose cases are read; None for those of all.

        Raises:
            NotFoundError: there is no such folder.
            InvalidInputFileError: a file of it is missing, or cannot be read.
            InvalidRequestError: no case has grades.
        """
        if plan.source == "cases":
            return self._read_cases(plan, tenant)
        folder = self.folder(plan.dataset)
        dataset = read_dataset(folder.path, DatasetOptions(max_queries=plan.queries, depth=plan.depth))
        self._remember(folder.path, dataset)
        return dataset

    def _read_cases(self, plan: EvaluationPlan, tenant: str | None) -> Dataset:
        store = self._traces.store
        labelled = (case for case in iter_cases(store, CaseFilter(tenant, "labelled")) if case.grades)
        latest = deque(labelled, maxlen=plan.queries)
        dataset = case_dataset(with_feedback(store, latest), CASES, depth=plan.depth)
        if not dataset.queries:
            raise InvalidRequestError("No case has grades.", hint="Label some cases first.")
        return dataset

    def _remember(self, folder: Path, dataset: Dataset) -> None:
        """Remember the texts, which people will look at soon."""
        for kind, texts in (("queries", dataset.queries), ("corpus", dataset.documents)):
            if (file := text_file(folder, kind)) is not None:
                self.texts.remember(file, texts)
