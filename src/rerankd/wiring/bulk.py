"""Scorers of bulk runs, built from settings."""

from __future__ import annotations

from rerankd.errors import InvalidRequestError
from rerankd.jobs.bulk.scorer import PairScorer
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from rerankd.scoring.fingerprint import model_fingerprint
from rerankd.scoring.scorer import Scorer
from rerankd.settings import Settings
from rerankd.wiring.engine import SettingsLoader


def open_scorer(settings: Settings) -> PairScorer:
    """Return the scorer that the settings describe.

    Raises:
        ModelError: the model cannot be found, is not supported, or its files are damaged.
        InvalidRequestError: `max_length` is above the model's limit.
    """
    loader = SettingsLoader(settings)
    files = loader.find(settings.model)
    manifest = files.manifest
    if settings.max_length is not None and settings.max_length > (limit := manifest.architecture.max_length):
        raise InvalidRequestError(
            f"max_length is {settings.max_length}; {manifest.name} reads at most {limit} tokens.",
            hint="Use a smaller --max-length, or --long-documents chunk.",
        )
    truncation = TruncationOptions(
        settings.max_length or manifest.max_length,
        settings.truncation,
        settings.long_documents,
        settings.chunk_overlap,
        settings.max_chunks,
    )
    backend = loader.backend(files)
    return PairScorer(
        Scorer(PairEncoder(files.tokenizer(), manifest.template), backend),
        truncation,
        model=manifest.name,
        version=model_fingerprint(files, backend),
        max_batch_tokens=settings.max_batch_tokens,
    )
