"""Engines, the model pool and the score cache, built from settings."""

from __future__ import annotations

from collections.abc import Mapping

from rerankd._common.instruction import IGNORED, check_instruction
from rerankd._common.logging import logger
from rerankd._common.validation import check_max_length
from rerankd.compiler.first_use import FirstUse, open_compiled
from rerankd.engine.cache import LayeredCache, MemoryCache, RedisCache, ScoreCache
from rerankd.engine.engine import Engine, EngineOptions
from rerankd.engine.observer import EngineObserver
from rerankd.engine.pool import ModelLoader, ModelPool
from rerankd.errors import InvalidRequestError
from rerankd.models.files import ModelFiles, load_model
from rerankd.models.reference import REGISTRY, short_name
from rerankd.scoring.backend import Backend
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from rerankd.scoring.fingerprint import model_fingerprint
from rerankd.scoring.scorer import Scorer
from rerankd.settings import Settings

_log = logger(__name__)


def default_instruction(settings: Settings, *names: str) -> str | None:
    """Return the instruction that the settings give a model; None for none.

    Args:
        settings: settings of the program.
        names: names of the model. A challenger, `MODEL~EXPERIMENT` in the pool, has the instruction of its champion, so
            that both read the same.

    Example:
        >>> default_instruction(Settings(instruction="a", instructions={"legal": "b"}), "legal~new")
        'b'
    """
    champions = [name.rpartition("~")[0] for name in names]
    named = [settings.instructions[name] for name in (*names, *champions) if name in settings.instructions]
    return check_instruction(named[0] if named else settings.instruction)


def truncation_options(settings: Settings, files: ModelFiles, name: str, *aliases: str) -> TruncationOptions:
    """Return how the settings truncate the pairs of a model, and what instruction it reads with them.

    Args:
        settings: settings of the service.
        files: files of the model.
        name: name of the model, for the message and for its instruction.
        aliases: other names under which the settings may have an instruction for it.

    Raises:
        InvalidRequestError: setting `max_length` is above the model's limit.
    """
    limit = files.manifest.architecture.max_length
    instruction = default_instruction(settings, name, *aliases)
    if instruction is not None and not files.manifest.template.takes_instruction:
        _log.warning("%s: the setting %s", name, IGNORED)
        instruction = None
    return TruncationOptions(
        min(files.manifest.max_length, limit)
        if settings.max_length is None
        else check_max_length(settings.max_length, limit, name),
        settings.truncation,
        settings.long_documents,
        settings.chunk_overlap,
        settings.max_chunks,
        instruction=instruction,
    )


def engine_options(settings: Settings) -> EngineOptions:
    """Return the budgets that the settings give every engine."""
    return EngineOptions(
        settings.max_batch_tokens,
        settings.batch_ms / 1000,
        settings.max_queue_seconds,
        settings.fairness,
        settings.cache_shared,
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
            engine_options(settings),
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


def open_pool(settings: Settings, loader: ModelLoader, encoder_loader: ModelLoader | None = None) -> ModelPool:
    """Return the pool of the models that the settings name; nothing is loaded yet.

    Args:
        settings: settings of the service.
        loader: loader of rerankers.
        encoder_loader: loader of embedding models; None where none are served.

    Raises:
        InvalidRequestError: settings contradict each other.
    """
    references = dict(settings.models)
    default = settings.model
    if default not in references:
        name = _short_name(default, references)
        references = {name: default, **references}
        default = name
    encoders = settings.embedding_models
    if taken := next((name for name in encoders if name in references), None):
        raise InvalidRequestError(
            f"{taken!r} is a name in embedding_models and of a reranker.", hint="Give the embedding model another name."
        )
    unknown = [name for name in settings.preload if name not in (*references, *encoders)]
    if unknown:
        raise InvalidRequestError(f"preload names {unknown[0]!r}, which is not in models.", hint="Add it to models.")
    return ModelPool(
        default,
        references,
        loader,
        strict=settings.strict_models,
        pinned=settings.preload,
        encoders=encoders if encoder_loader is not None else None,
        encoder_loader=encoder_loader,
        max_loaded_bytes=settings.max_loaded_mb * 1_000_000,
        close_seconds=settings.shutdown_seconds,
    )


def _short_name(reference: str, taken: Mapping[str, str]) -> str:
    """Return the name of the default model in requests: folder, registered name, or the reference itself."""
    name = short_name(reference)
    return reference if reference.startswith(REGISTRY) and name in taken else name


def open_cache(settings: Settings) -> ScoreCache | None:
    """Return the score cache that the settings describe; None if caching is off."""
    if not settings.cache:
        return None
    memory = MemoryCache(settings.cache_entries)
    return (
        LayeredCache(memory, RedisCache(settings.redis_url, settings.cache_seconds)) if settings.redis_url else memory
    )
