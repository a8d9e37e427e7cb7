"""From settings to the experiments of an instance."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from rerankd.engine.pool import ModelPool
from rerankd.experiments.store import ExperimentStore
from rerankd.experiments.sync import ExperimentSync, PromotionHandler
from rerankd.experiments.traffic import Traffic
from rerankd.settings import Settings
from rerankd.wiring.traces import open_store


def open_experiments(settings: Settings) -> ExperimentStore:
    """The experiments of the database that the settings name.

    Raises:
        InvalidRequestError: an address that is none.
        MissingDependencyError: PostgreSQL without the extra `postgres`.
        UnavailableError: the database cannot be reached.
    """
    return ExperimentStore(open_store(settings))


def instance_name() -> str:
    """What this process is called in records of decisions."""
    return f"{socket.gethostname()}:{os.getpid()}"


def open_experiment_sync(
    settings: Settings,
    pool: ModelPool,
    traffic: Traffic,
    decided: Callable[[str], None] = lambda action: None,
    promotions: PromotionHandler | None = None,
    *,
    promoted_only: bool = False,
) -> ExperimentSync | None:
    """What keeps an instance's experiments as the database has them, not looking yet; None where they are off.

    Args:
        settings: of the program.
        pool: its models.
        traffic: of its pipeline.
        decided: told of each decision that this instance made.
        promotions: takes promotions further.
        promoted_only: whether running experiments are others' business.
    """
    if not settings.rollout:
        return None
    return ExperimentSync(
        lambda: open_experiments(settings),
        pool,
        traffic,
        settings.rollout_seconds,
        instance_name(),
        decided,
        promotions,
        promoted_only=promoted_only,
    )
