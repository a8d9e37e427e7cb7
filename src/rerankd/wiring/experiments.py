"""Experiments of an instance, built from settings."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rerankd.engine.pool import ModelPool
from rerankd.errors import InvalidRequestError, ModelError
from rerankd.experiments.experiment import Experiment, validate
from rerankd.experiments.store import ExperimentStore
from rerankd.experiments.sync import ExperimentSync, PromotionHandler
from rerankd.experiments.traffic import Traffic
from rerankd.models.digest import content_digest
from rerankd.models.files import ModelFiles, load_model
from rerankd.models.reference import BUNDLED, REGISTRY, parse_reference
from rerankd.settings import Settings
from rerankd.wiring.registry import open_registry
from rerankd.wiring.traces import open_trace_store


def open_experiments(settings: Settings) -> ExperimentStore:
    """Open the database of experiments that the settings name.

    Raises:
        InvalidRequestError: the address of the database is invalid.
        MissingDependencyError: the database is PostgreSQL and the extra `postgres` is not installed.
        UnavailableError: the database cannot be reached.
    """
    return ExperimentStore(open_trace_store(settings))


def default_model_name(settings: Settings) -> str:
    """Return the name under which services with these settings serve their default model."""
    if settings.model in settings.models or settings.model == "mini" or not Path(settings.model).is_dir():
        return settings.model
    return Path(settings.model).name


def prepare_experiment(settings: Settings, experiment: Experiment, *, check: bool = True) -> Experiment:
    """Return an experiment that is ready to be started: valid, with its challenger checked and pinned to a version.

    Args:
        settings: settings of the services that will take part.
        experiment: experiment as a person described it.
        check: True to check that the challenger can be loaded from here and is not the champion, which may download it;
            the alias of a registry version is replaced by the version that it points to now.

    Raises:
        InvalidRequestError: a field is invalid, or the challenger has the champion's files.
        ModelError: the challenger cannot be loaded.
        UnavailableError: the registry cannot be reached.
    """
    challenger = experiment.challenger
    if Path(challenger).is_dir() and challenger not in BUNDLED:  # services may run in another folder
        experiment = replace(experiment, challenger=str(Path(challenger).resolve()))
    validate(experiment)
    if not check:
        return experiment
    files = load_model(experiment.challenger, cache_dir=settings.cache_dir, registry=settings.registry)
    _check_different(files, experiment.model, settings)
    return replace(experiment, challenger=_pinned(experiment.challenger, settings))


def _check_different(challenger: ModelFiles, served: str, settings: Settings) -> None:
    """Refuse a challenger with the champion's files, which can be neither better nor worse.

    A champion that is not on this machine is not downloaded for the comparison.
    """
    default = settings.model if served == default_model_name(settings) else served
    with suppress(ModelError):  # services may know the champion by a name that settings here do not have
        champion = parse_reference(settings.models.get(served, default))
        if champion.kind not in ("bundled", "folder"):
            return
        if content_digest(load_model(str(champion))) == content_digest(challenger):
            raise InvalidRequestError(
                f"{challenger.reference} has the same files as {served}, the champion.",
                hint="Name another challenger, or use --no-check for an A/A test.",
            )


def _pinned(challenger: str, settings: Settings) -> str:
    """Resolve a registry alias to its current version, which stays fixed for the experiment."""
    reference = parse_reference(challenger)
    if reference.alias is None:
        return challenger
    return f"{REGISTRY}{reference.name}@{open_registry(settings).resolve(reference.name, reference.alias).version}"


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
