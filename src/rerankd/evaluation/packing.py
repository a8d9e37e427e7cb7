"""An evaluation of one dataset as plain values: what its result page shows, and what is kept of each query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rerankd.evaluation.evaluation import DatasetResult, Evaluation
from rerankd.evaluation.summary import result_rows

MAX_JUDGED = 200  # judged documents of a query that are kept besides its candidates


def packed_result(evaluation: Evaluation) -> dict[str, Any]:
    """Return the results of an evaluation of one dataset, without texts.

    Returns:
        `measures`, `baseline`, `dataset`, `systems` (rows as `rerankd eval --json` writes them), `query_ids`, and
        `values`: the measures of each query, by system, in the order of `query_ids`.

    Example:
        >>> from rerankd.evaluation import Dataset, RankingRun, evaluate
        >>> dataset = Dataset("tiny", {"q": ""}, {}, {"q": {"a": 1}}, {"q": ("b", "a")}, "")
        >>> runs = [RankingRun("before", {"q": ("b", "a")}), RankingRun("after", {"q": ("a", "b")})]
        >>> result = packed_result(evaluate([(dataset, runs)], ["RR"]))
        >>> result["values"]
        {'before': [[0.5]], 'after': [[1.0]]}
    """
    result = evaluation.results[0]
    dataset = result.dataset
    return {
        "measures": list(evaluation.measures),
        "baseline": evaluation.baseline,
        "dataset": {
            "name": dataset.name,
            "queries": len(result.query_ids),
            "without_candidates": len(result.query_ids) - len(dataset.candidates),
            "pairs": sum(map(len, dataset.candidates.values())),
            "first_stage": dataset.first_stage,
            "generated_candidates": dataset.generated_candidates,
            "candidate_recall": dataset.candidate_recall,
            "notices": list(dataset.notices),
        },
        "systems": list(result_rows(evaluation, 0)),
        "query_ids": list(result.query_ids),
        "values": {measured.run.name: measured.values.tolist() for measured in result.runs},
    }


def packed_headline(evaluation: Evaluation) -> dict[str, Any]:
    """Return what a list shows of an evaluation: the first measure of the baseline, and each comparison with it."""
    result = evaluation.results[0]
    return {
        "measure": evaluation.measures[0],
        "baseline": evaluation.baseline,
        "before": result.run(evaluation.baseline).means[0].mean,
        "comparisons": [
            {
                "system": comparison.run,
                "after": result.run(comparison.run).means[0].mean,
                "delta": comparison.deltas[0].mean,
                "verdict": comparison.conclusion,
            }
            for comparison in result.comparisons
        ],
    }


def packed_queries(result: DatasetResult) -> list[dict[str, Any]]:
    """Return candidates, grades and logits of each query, in the order of `query_ids`.

    Returns:
        For each query `candidates` (document ids in the order of the first stage), `grades` by document id, and
        `logits` by model, in the order of the candidates.
    """
    return [_packed_query(result, query_id) for query_id in result.query_ids]


def _packed_query(result: DatasetResult, query_id: str) -> dict[str, Any]:
    candidates = result.dataset.candidates.get(query_id, ())
    grades: Mapping[str, int] = result.dataset.qrels[query_id]
    known = set(candidates)
    kept = [doc_id for doc_id in grades if doc_id in known]
    kept += [doc_id for doc_id in grades if doc_id not in known][:MAX_JUDGED]
    logits = {
        measured.run.name: [measured.run.logits[query_id][doc_id] for doc_id in candidates]
        for measured in result.runs
        if measured.run.logits is not None and query_id in measured.run.logits
    }
    return {"candidates": list(candidates), "grades": {doc_id: grades[doc_id] for doc_id in kept}, "logits": logits}
