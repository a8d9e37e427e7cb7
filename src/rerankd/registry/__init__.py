"""Model registry on MLflow: versions, promotions with a gate, and instances that follow an alias."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.registry.alias_follower import AliasFollower
    from rerankd.registry.cache import Cache
    from rerankd.registry.registry import History, Registry
    from rerankd.registry.source import open_registry
    from rerankd.registry.store import Store
    from rerankd.registry.version import AliasMove, ModelVersion

__all__ = ["AliasFollower", "AliasMove", "Cache", "History", "ModelVersion", "Registry", "Store", "open_registry"]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.registry.alias_follower": ("AliasFollower",),
        "rerankd.registry.cache": ("Cache",),
        "rerankd.registry.registry": ("History", "Registry"),
        "rerankd.registry.source": ("open_registry",),
        "rerankd.registry.store": ("Store",),
        "rerankd.registry.version": ("ModelVersion", "AliasMove"),
    },
)
