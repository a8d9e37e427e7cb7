"""Engine: dynamic batching of scoring requests for one model, and the pool of the models that are served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.engine.admission import Admission, make_retry_key
    from rerankd.engine.cache import LayeredCache, MemoryCache, RedisCache, ScoreCache
    from rerankd.engine.engine import Engine, EngineOptions
    from rerankd.engine.observer import EngineObserver
    from rerankd.engine.pool import ModelLoader, ModelPool, ServedModel
    from rerankd.engine.request import EngineRequest, QueryGroup, ScoreRequest, ScoreResult

__all__ = [
    "Admission",
    "Engine",
    "EngineObserver",
    "EngineOptions",
    "EngineRequest",
    "LayeredCache",
    "MemoryCache",
    "ModelLoader",
    "ModelPool",
    "QueryGroup",
    "RedisCache",
    "ScoreCache",
    "ScoreRequest",
    "ScoreResult",
    "ServedModel",
    "make_retry_key",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.engine.admission": ("Admission", "make_retry_key"),
        "rerankd.engine.cache": ("LayeredCache", "MemoryCache", "RedisCache", "ScoreCache"),
        "rerankd.engine.engine": ("Engine", "EngineOptions"),
        "rerankd.engine.observer": ("EngineObserver",),
        "rerankd.engine.pool": ("ModelLoader", "ModelPool", "ServedModel"),
        "rerankd.engine.request": ("EngineRequest", "QueryGroup", "ScoreRequest", "ScoreResult"),
    },
)
