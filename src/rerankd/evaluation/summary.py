"""An evaluation as plain values: the rows that `rerankd eval --json` writes, one per dataset and run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rerankd.evaluation.comparison import Comparison
from rerankd.evaluation.evaluation import DatasetResult, Evaluation
from rerankd.evaluation.query_diff import QueryChange, largest_changes
from rerankd.evaluation.run import Latency

QUERIES_SHOWN = 5


def result_rows(evaluation: Evaluation, queries: int = QUERIES_SHOWN) -> Iterator[dict[str, Any]]:
    """Yield one row per dataset and run; runs other than the baseline have a `comparison`.

    Args:
        evaluation: the evaluation.
        queries: maximum number of worst and of best queries in each comparison.
    """
    for result in evaluation.results:
        comparisons = {comparison.run: comparison for comparison in result.comparisons}
        for measured in result.runs:
            run = measured.run
            means = zip(evaluation.measures, measured.means, strict=True)
            row: dict[str, Any] = {
                "dataset": result.dataset.name,
                "system": run.name,
                "description": run.description,
                "queries": len(result.query_ids),
                "without_candidates": sum(not run.rankings.get(query_id) for query_id in result.query_ids),
                "measures": {name: asdict(mean) for name, mean in means},
                "notices": list(result.dataset.notices),
            }
            if run.latency is not None:
                row["latency"] = latency_row(run.latency)
            if run.name in comparisons:
                row["comparison"] = _comparison_row(evaluation, result, comparisons[run.name], queries)
            yield row


def latency_row(latency: Latency) -> dict[str, float]:
    """Return latency percentiles in milliseconds, and the throughput in pairs per second."""
    return {
        "requests": len(latency.milliseconds),
        "mean_ms": round(latency.mean, 2),
        "p50_ms": round(latency.quantile(0.5), 2),
        "p95_ms": round(latency.quantile(0.95), 2),
        "p99_ms": round(latency.quantile(0.99), 2),
        "pairs_per_second": round(latency.pairs_per_second, 1),
        "truncated": latency.truncated,
    }


def _comparison_row(
    evaluation: Evaluation, result: DatasetResult, comparison: Comparison, queries: int
) -> dict[str, Any]:
    losses, gains = largest_changes(result, comparison.run, comparison.baseline, queries)
    return {
        "baseline": comparison.baseline,
        "tested": evaluation.measures[0],
        "deltas": {name: asdict(delta) for name, delta in zip(evaluation.measures, comparison.deltas, strict=True)},
        "wins": comparison.wins,
        "ties": comparison.ties,
        "losses": comparison.losses,
        "p": comparison.p,
        "p_holm": comparison.p_holm,
        "verdict": comparison.conclusion,
        "worst": [_query_row(change) for change in losses],
        "best": [_query_row(change) for change in gains],
    }


def _query_row(change: QueryChange) -> dict[str, Any]:
    return {"query_id": change.query_id, "query": change.query, "before": change.before, "after": change.after}
