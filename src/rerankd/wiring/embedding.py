"""Engines of the embedding models that the service offers, built from settings."""

from __future__ import annotations

from rerankd.engine.cache import MemoryCache
from rerankd.engine.engine import Engine
from rerankd.engine.observer import EngineObserver
from rerankd.engine.pool import ModelLoader
from rerankd.models.encoder_files import find_encoder
from rerankd.models.files import ModelFiles
from rerankd.retrieval.vector_backend import open_vector_backend
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from rerankd.scoring.fingerprint import model_fingerprint
from rerankd.scoring.scorer import Scorer
from rerankd.scoring.text_vector import to_vector
from rerankd.settings import Settings
from rerankd.wiring.engine import engine_options

SCORES_PER_VECTOR = 16  # a vector takes about as much memory as so many scores


class EncoderLoader(ModelLoader):
    """Loader of text encoders into engines, which batch, admit and share as those of rerankers do.

    Vectors are cached in memory alone, and fewer of them than scores.

    Args:
        settings: settings of the service.
        observer: observes the engines; None for no observer.
    """

    def __init__(self, settings: Settings, observer: EngineObserver | None = None) -> None:
        self._settings, self._observer = settings, observer
        self._cache = MemoryCache(settings.cache_entries // SCORES_PER_VECTOR) if settings.cache else None

    def find(self, reference: str) -> ModelFiles:
        """Find and check an encoder's files."""
        return find_encoder(reference, self._settings.cache_dir)

    def open(self, name: str, files: ModelFiles) -> tuple[Engine, TruncationOptions]:
        """Load an encoder and warm it up.

        Raises:
            UnsupportedModelError: its pooling is not supported.
            MissingDependencyError: the packages that compile it are not installed.
        """
        backend = open_vector_backend(files, threads=self._settings.threads, side_by_side=True)
        engine = Engine(
            name,
            model_fingerprint(files, backend),
            Scorer(PairEncoder(files.tokenizer(), files.manifest.template), backend),
            engine_options(self._settings),
            join=to_vector,
            cache=self._cache,
            observer=self._observer,
        )
        try:
            engine.warm_up()
        except BaseException:
            engine.close(0.0)
            raise
        return engine, TruncationOptions(files.manifest.max_length)
