"""Experiments of an instance, built from settings."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from rerankd.engine.pool import ModelPool
from rerankd.experiments.store import ExperimentStore
from rerankd.experiments.sync import ExperimentSync, PromotionHandler
from rerankd.experiments.traffic import Traffic
from rerankd.settings import Settings
from rerankd.wiring.traces import open_trace_store


def open_experiments(settings: Settings) -> ExperimentStore:
    """Open the database of experiments that the settings name.

    Raises:
        InvalidRequestError: the address of the database is invalid.
        MissingDependencyError: the database is PostgreSQL and the extra `postgres` is not installed.
        UnavailableError: the database cannot be reached.
    """
    return ExperimentStore(open_trace_store(settings))


def instance_name() -> str:
    """Return the name of this process in the history of experiments: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def open_experiment_sync(
    settings: Settings,
    pool: ModelPool,
    traffic: Traffic,
    on_decision: Callable[[str], None] = lambda action: None,
    promotions: PromotionHandler | None = None,
    *,
    promoted_only: bool = False,
) -> ExperimentSync | None:
    """Return the synchronization of an instance with its experiments, not started yet; None if they are off.

    Args:
        settings: `rollout`, `rollout_seconds` and the address of the database are read.
        pool: models of the instance.
        traffic: traffic of the instance.
        on_decision: receives the action of each decision that this instance made.
        promotions: carries promotions to the registry.
        promoted_only: True to ignore running experiments, as workers do.
    """
    if not settings.rollout:
        return None
    return ExperimentSync(
        lambda: open_experiments(settings),
        pool,
        traffic,
        settings.rollout_seconds,
        instance_name(),
        on_decision,
        promotions,
        promoted_only=promoted_only,
    )
