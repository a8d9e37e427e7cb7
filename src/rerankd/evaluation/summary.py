"""An evaluation as plain values: what `--json` writes, one row for each dataset and system."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rerankd.evaluation.comparison import Comparison
from rerankd.evaluation.evaluation import DatasetResult, Evaluation
from rerankd.evaluation.query_diff import Case, extreme_cases
from rerankd.evaluation.run import Latency

CASES = 5


def rows(evaluation: Evaluation, cases: int = CASES) -> Iterator[dict[str, Any]]:
    """One row for each system of each dataset; systems but the baseline have a `comparison`."""
    for result in evaluation.results:
        compared = {comparison.system: comparison for comparison in result.comparisons}
        for found in result.systems:
            row: dict[str, Any] = {
                "dataset": result.dataset.name,
                "system": found.system.name,
                "description": found.system.description,
                "queries": len(result.queries),
                "without_candidates": sum(not found.system.rankings.get(query) for query in result.queries),
                "measures": {name: asdict(mean) for name, mean in zip(evaluation.measures, found.means, strict=True)},
            }
            if found.system.latency is not None:
                row["latency"] = latency(found.system.latency)
            if found.system.name in compared:
                row["comparison"] = _comparison(evaluation, result, compared[found.system.name], cases)
            yield row


def latency(found: Latency) -> dict[str, float]:
    """Milliseconds of a request, and pairs in a second."""
    return {
        "requests": len(found.milliseconds),
        "mean_ms": round(found.mean, 2),
        "p50_ms": round(found.quantile(0.5), 2),
        "p95_ms": round(found.quantile(0.95), 2),
        "p99_ms": round(found.quantile(0.99), 2),
        "pairs_per_second": round(found.pairs_per_second, 1),
        "truncated": found.truncated,
    }


def _comparison(evaluation: Evaluation, result: DatasetResult, found: Comparison, cases: int) -> dict[str, Any]:
    worst, best = extreme_cases(result, found.system, found.baseline, cases)
    return {
        "baseline": found.baseline,
        "tested": evaluation.measures[0],
        "deltas": {name: asdict(delta) for name, delta in zip(evaluation.measures, found.deltas, strict=True)},
        "wins": found.wins,
        "ties": found.ties,
        "losses": found.losses,
        "p": found.p,
        "p_holm": found.p_holm,
        "verdict": found.verdict,
        "worst": [_case(case) for case in worst],
        "best": [_case(case) for case in best],
    }


def _case(case: Case) -> dict[str, Any]:
    return {"query_id": case.query_id, "query": case.query, "before": case.before, "after": case.after}
