"""Bulk runs: files of any length scored in chunks, resumable at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.jobs.bulk.executor import Executor
    from rerankd.jobs.bulk.local import LocalExecutor
    from rerankd.jobs.bulk.queue import QueueExecutor
    from rerankd.jobs.bulk.run import BulkProgress, BulkRun, run_bulk
    from rerankd.jobs.bulk.scorer import PairScorer

__all__ = ["BulkProgress", "BulkRun", "Executor", "LocalExecutor", "PairScorer", "QueueExecutor", "run_bulk"]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.jobs.bulk.executor": ("Executor",),
        "rerankd.jobs.bulk.local": ("LocalExecutor",),
        "rerankd.jobs.bulk.queue": ("QueueExecutor",),
        "rerankd.jobs.bulk.run": ("BulkProgress", "BulkRun", "run_bulk"),
        "rerankd.jobs.bulk.scorer": ("PairScorer",),
    },
)
