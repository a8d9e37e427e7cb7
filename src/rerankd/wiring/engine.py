"""Engines, the model pool and the score cache, built from settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rerankd._common.validation import check_max_length
from rerankd.compiler.first_use import FirstUse, open_compiled
from rerankd.engine.cache import LayeredCache, MemoryCache, RedisCache, ScoreCache
from rerankd.engine.engine import Engine, EngineOptions
from rerankd.engine.observer import EngineObserver
from rerankd.engine.pool import ModelLoader, ModelPool
from rerankd.errors import InvalidRequestError
from rerankd.models.files import ModelFiles, load_model
from rerankd.models.reference import REGISTRY, parse_reference
from rerankd.scoring.backend import Backend
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from rerankd.scoring.fingerprint import model_fingerprint
from rerankd.scoring.scorer import Scorer
from rerankd.settings import Settings


def truncation_options(settings: Settings, files: ModelFiles, name: str) -> TruncationOptions:
    """Return how the settings truncate the pairs of a model.

    Args:
        settings: settings of the service.
        files: files of the model.
        name: name of the model, for the message.

    Raises:
        InvalidRequestError: setting `max_length` is above the model's limit.
    """
    limit = files.manifest.architecture.max_length
    return TruncationOptions(
        min(files.manifest.max_length, limit)
        if settings.max_length is None
        else check_max_length(settings.max_length, limit, name),
        settings.truncation,
        settings.long_documents,
        settings.chunk_overlap,
        settings.max_chunks,
    )


class SettingsLoader(ModelLoader):
    """Loader of engines with the options of the settings; all engines share one cache.

    Args:
        settings: settings of the service.
        observer: observes the engines; None for no observer.
    """

    def __init__(self, settings: Settings, observer: EngineObserver | None = None) -> None:
        self._settings, self._observer = settings, observer or EngineObserver()
        self._cache = open_cache(settings)

    def find(self, reference: str) -> ModelFiles:
        """Find and check a model's files."""
        return load_model(reference, cache_dir=self._settings.cache_dir, registry=self._settings.registry)

    def open(self, name: str, files: ModelFiles) -> tuple[Engine, TruncationOptions]:
        """Load a model and warm it up.

        Raises:
            InvalidRequestError: setting `max_length` is above the model's limit.
        """
        settings = self._settings
        truncation = truncation_options(settings, files, name)
        backend = self.backend(files)
        engine = Engine(
            name,
            model_fingerprint(files, backend),
            Scorer(PairEncoder(files.tokenizer(), files.manifest.template), backend),
            EngineOptions(
                settings.max_batch_tokens,
                settings.batch_ms / 1000,
                settings.max_queue_seconds,
                settings.fairness,
                settings.cache_shared,
            ),
            cache=self._cache,
            observer=self._observer,
        )
        try:
            engine.warm_up()
        except BaseException:
            engine.close(0.0)
            raise
        return engine, truncation

    def backend(self, files: ModelFiles) -> Backend:
        """Open the backend that computes a model."""
        settings = self._settings
        precision = settings.precision if not files.compiled else None
        use = FirstUse(
            settings.backend, settings.device, precision, settings.threads, settings.compile, settings.cache_dir
        )
        return open_compiled(files, use)


def open_pool(settings: Settings, loader: ModelLoader) -> ModelPool:
    """Return the pool of the models that the settings name; nothing is loaded yet.

    Raises:
        InvalidRequestError: settings contradict each other.
    """
    references = dict(settings.models)
    default = settings.model
    if default not in references:
        name = _short_name(default, references)
        references = {name: default, **references}
        default = name
    unknown = [name for name in settings.preload if name not in references]
    if unknown:
        raise InvalidRequestError(f"preload names {unknown[0]!r}, which is not in models.", hint="Add it to models.")
    return ModelPool(
        default,
        references,
        loader,
        strict=settings.strict_models,
        pinned=settings.preload,
        max_loaded_bytes=settings.max_loaded_mb * 1_000_000,
        close_seconds=settings.shutdown_seconds,
    )


def _short_name(reference: str, taken: Mapping[str, str]) -> str:
    """Return the name of the default model in requests: folder, registered name, or the reference itself."""
    parsed = parse_reference(reference) if reference.startswith(REGISTRY) else None
    if parsed is not None:
        return parsed.name if parsed.name not in taken else reference
    return Path(reference).name if Path(reference).is_dir() and reference not in ("mini",) else reference


def open_cache(settings: Settings) -> ScoreCache | None:
    """Return the score cache that the settings describe; None if caching is off."""
    if not settings.cache:
        return None
    memory = MemoryCache(settings.cache_entries)
    return (
        LayeredCache(memory, RedisCache(settings.redis_url, settings.cache_seconds)) if settings.redis_url else memory
    )
