"""The model registry and its alias follower, built from settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd.registry import source
from rerankd.registry.registry import Registry
from rerankd.settings import Settings

if TYPE_CHECKING:
    from rerankd.engine.pool import ModelPool
    from rerankd.registry.alias_follower import AliasFollower


def open_registry(settings: Settings) -> Registry:
    """Return the registry that the settings name; MLflow is first contacted when it is used.

    Args:
        settings: `registry`, `cache_dir` and `gate_key` are read.

    Example:
        >>> open_registry(Settings(registry="http://localhost:5000")).store.where
        'http://localhost:5000'
    """
    return source.open_registry(settings.registry, cache_dir=settings.cache_dir, gate_key=settings.gate_key)


def open_alias_follower(settings: Settings, pool: ModelPool) -> AliasFollower:
    """Return the follower of the aliases among a pool's model references; it is not started yet."""
    from rerankd.registry.alias_follower import AliasFollower

    return AliasFollower(pool, open_registry(settings), settings.registry_seconds)
