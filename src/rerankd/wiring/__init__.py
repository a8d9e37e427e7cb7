"""Objects built from settings; the only place that turns settings into objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.wiring.bulk import open_scorer
    from rerankd.wiring.engine import SettingsLoader, open_cache, open_pool
    from rerankd.wiring.experiments import open_experiment_sync, open_experiments
    from rerankd.wiring.jobs import open_job_store, open_notifier, open_queue
    from rerankd.wiring.registry import open_alias_follower, open_registry
    from rerankd.wiring.retrieval import open_chat, open_embedder, open_index, open_retriever, open_token_offsets
    from rerankd.wiring.rules import open_rules
    from rerankd.wiring.traces import open_existing_trace_store, open_trace_store, open_trace_writer, retention_policy
    from rerankd.wiring.worker import WorkerProcess

__all__ = [
    "SettingsLoader",
    "WorkerProcess",
    "open_alias_follower",
    "open_cache",
    "open_chat",
    "open_embedder",
    "open_existing_trace_store",
    "open_experiment_sync",
    "open_experiments",
    "open_index",
    "open_job_store",
    "open_notifier",
    "open_pool",
    "open_queue",
    "open_registry",
    "open_retriever",
    "open_rules",
    "open_scorer",
    "open_token_offsets",
    "open_trace_store",
    "open_trace_writer",
    "retention_policy",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.wiring.bulk": ("open_scorer",),
        "rerankd.wiring.engine": ("SettingsLoader", "open_cache", "open_pool"),
        "rerankd.wiring.experiments": ("open_experiment_sync", "open_experiments"),
        "rerankd.wiring.jobs": ("open_job_store", "open_notifier", "open_queue"),
        "rerankd.wiring.registry": ("open_alias_follower", "open_registry"),
        "rerankd.wiring.retrieval": (
            "open_chat",
            "open_embedder",
            "open_index",
            "open_retriever",
            "open_token_offsets",
        ),
        "rerankd.wiring.rules": ("open_rules",),
        "rerankd.wiring.traces": (
            "open_existing_trace_store",
            "open_trace_store",
            "open_trace_writer",
            "retention_policy",
        ),
        "rerankd.wiring.worker": ("WorkerProcess",),
    },
)
