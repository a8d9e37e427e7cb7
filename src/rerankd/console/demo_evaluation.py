"""The demo's finished evaluation: the first version of the model and the present one, on the handbook's questions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerankd.console.demo_models import DemoModel
from rerankd.console.evaluation_forms import DEPTH, QUERIES
from rerankd.evaluation.dataset import Dataset, open_dataset
from rerankd.evaluation.measures import DEFAULT_MEASURES, check_measures
from rerankd.evaluation.run import RankingRun
from rerankd.evaluation.saved import EvaluationPlan
from rerankd.evaluation.saved_store import EvaluationStore
from rerankd.server.evaluation_run import ModelRun, measure
from rerankd.traces.store import TraceStore

AUTHOR = "search-team"


def add_evaluation(store: TraceStore, folder: Path, versions: Mapping[str, DemoModel]) -> int:
    """Store the results of versions of the model on a dataset, and return the number of the evaluation.

    Args:
        store: the demo's store.
        folder: BEIR folder whose questions all versions have ranked.
        versions: versions by name, in the order in which the page lists them.

    Raises:
        MissingDependencyError: the extra `eval` is not installed.
    """
    check_measures(DEFAULT_MEASURES)
    dataset, evaluations = open_dataset(folder), EvaluationStore(store)
    measured = measure(dataset, [_run(dataset, name, model) for name, model in versions.items()])
    plan = EvaluationPlan("folder", f"{folder.parent.name}/{folder.name}", tuple(versions), DEPTH, QUERIES)
    number = evaluations.add(plan, None, AUTHOR)
    evaluations.start(number, len(versions) * sum(map(len, dataset.candidates.values())))
    evaluations.finish(number, measured.result, measured.headline, measured.queries)
    return number


def _run(dataset: Dataset, name: str, model: DemoModel) -> ModelRun:
    """Return what a version ranked, as an evaluation keeps it."""
    records = [question.record for question in model.questions]
    scores = {
        (record.request.query, document.text): score
        for record in records
        for document, score in zip(record.request.documents, record.scores, strict=True)
    }
    facts: dict[str, Any] = {"version": records[0].version, "max_length": records[0].max_length}
    facts |= {"pairs": 0, "tokens": 0, "truncated": 0}
    logits: dict[str, dict[str, float]] = {}
    rankings: dict[str, tuple[str, ...]] = {}
    truncated: dict[str, list[int]] = {}
    for query_id, doc_ids in dataset.candidates.items():
        pairs = [scores[dataset.queries[query_id], dataset.documents[doc_id]] for doc_id in doc_ids]
        logit_of = {doc_id: pair.raw_score for doc_id, pair in zip(doc_ids, pairs, strict=True)}
        logits[query_id] = logit_of
        rankings[query_id] = tuple(sorted(logit_of, key=lambda doc_id: -logit_of[doc_id]))
        truncated[query_id] = [position for position, pair in enumerate(pairs) if pair.truncated]
        facts["pairs"] += len(pairs)
        facts["tokens"] += sum(pair.tokens for pair in pairs)
        facts["truncated"] += len(truncated[query_id])
    facts["seconds"] = round(max(record.timings["total"] for record in records) / 1000, 3)  # they were one batch
    description = f"version {facts['version']}, max_length {facts['max_length']}"
    return ModelRun(RankingRun(name, rankings, logits, None, description), facts, truncated)
