"""The demo's finished evaluation: two versions of the model on the questions about the handbook."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rerankd.console.demo_experiments import STARTED_BY
from rerankd.console.demo_models import DemoModel
from rerankd.errors import MissingDependencyError
from rerankd.evaluation.dataset import Dataset, open_dataset
from rerankd.evaluation.run import RankingRun
from rerankd.evaluation.saved import EvaluationPlan
from rerankd.evaluation.saved_store import EvaluationStore
from rerankd.server.evaluation_run import ModelRun, measure
from rerankd.traces.store import TraceStore

DEPTH = 50


def add_evaluation(store: TraceStore, folder: Path, models: Mapping[str, DemoModel]) -> int | None:
    """Store a finished evaluation, as the page of evaluations makes it.

    Args:
        store: store of the demo.
        folder: BEIR folder of the questions.
        models: versions of the model by name; all have ranked these questions.

    Returns:
        Number of the evaluation; None where the extra that measures is not installed.
    """
    dataset = open_dataset(folder)
    try:
        measured = measure(dataset, [_run(name, model, dataset) for name, model in models.items()])
    except MissingDependencyError:
        return None
    plan = EvaluationPlan("folder", folder.name, tuple(models), DEPTH, len(dataset.queries))
    evaluations = EvaluationStore(store)
    number = evaluations.add(plan, None, STARTED_BY)
    evaluations.start(number, len(models) * sum(map(len, dataset.candidates.values())))
    evaluations.finish(number, measured.result, measured.headline, measured.queries)
    return number


def _run(name: str, model: DemoModel, dataset: Dataset) -> ModelRun:
    """Return the rankings of a version; nothing is scored again."""
    cut = {
        (question.query, document.text)
        for question in model.questions
        for document, score in zip(question.record.request.documents, question.record.scores, strict=True)
        if score.truncated
    }
    logits: dict[str, dict[str, float]] = {}
    truncated: dict[str, list[int]] = {}
    for query_id, doc_ids in dataset.candidates.items():
        query, texts = dataset.queries[query_id], [dataset.documents[doc_id] for doc_id in doc_ids]
        logits[query_id] = dict(zip(doc_ids, model.logits(query, texts), strict=True))
        truncated[query_id] = [position for position, text in enumerate(texts) if (query, text) in cut]
    rankings = {
        query_id: tuple(sorted(scores, key=lambda doc_id: -scores[doc_id])) for query_id, scores in logits.items()
    }
    record = model.questions[0].record
    records = [question.record for question in model.questions if question.is_about_shop]
    facts = {
        "version": record.version,
        "max_length": record.max_length,
        "pairs": sum(map(len, logits.values())),
        "tokens": sum(score.tokens for each in records for score in each.scores),
        "truncated": sum(map(len, truncated.values())),
        "seconds": round(sum(each.timings["total"] for each in records) / 1000, 3),
    }
    description = f"version {record.version}, max_length {record.max_length}"
    return ModelRun(RankingRun(name, rankings, logits, None, description), facts, truncated)
