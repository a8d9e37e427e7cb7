"""Evaluation of rankings: measures, significance tests, calibration, the promotion gate, and reports.

Does: read judged collections and runs, rank them with models, measure by ir_measures, compare per query, calibrate.
Does not: watch a running service, train, or promote a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.evaluation.dataset import Dataset, DatasetOptions, open_dataset
    from rerankd.evaluation.evaluation import Evaluation, evaluate
    from rerankd.evaluation.run import RankingRun, first_stage_run, rerank_dataset
    from rerankd.evaluation.trec import read_qrels, read_run, write_run

__all__ = [
    "Dataset",
    "DatasetOptions",
    "Evaluation",
    "RankingRun",
    "evaluate",
    "first_stage_run",
    "open_dataset",
    "read_qrels",
    "read_run",
    "rerank_dataset",
    "write_run",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.evaluation.dataset": (
            "Dataset",
            "DatasetOptions",
            "open_dataset",
        ),
        "rerankd.evaluation.evaluation": (
            "Evaluation",
            "evaluate",
        ),
        "rerankd.evaluation.run": (
            "RankingRun",
            "first_stage_run",
            "rerank_dataset",
        ),
        "rerankd.evaluation.trec": (
            "read_qrels",
            "read_run",
            "write_run",
        ),
    },
)
