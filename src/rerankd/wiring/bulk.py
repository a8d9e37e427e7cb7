"""Scorers of bulk runs, built from settings."""

from __future__ import annotations

from rerankd.jobs.bulk.scorer import PairScorer
from rerankd.models.reference import short_name
from rerankd.scoring.encoder import PairEncoder
from rerankd.scoring.fingerprint import model_fingerprint
from rerankd.scoring.scorer import Scorer
from rerankd.settings import Settings
from rerankd.wiring.engine import SettingsLoader, truncation_options


def open_scorer(settings: Settings) -> PairScorer:
    """Return the scorer that the settings describe.

    Raises:
        ModelError: the model cannot be found, is not supported, or its files are damaged.
        InvalidRequestError: `max_length` is above the model's limit.
    """
    loader = SettingsLoader(settings)
    files = loader.find(settings.model)
    manifest = files.manifest
    truncation = truncation_options(settings, files, manifest.name, settings.model, short_name(settings.model))
    backend = loader.backend(files)
    return PairScorer(
        Scorer(PairEncoder(files.tokenizer(), manifest.template), backend),
        truncation,
        model=manifest.name,
        version=model_fingerprint(files, backend),
        max_batch_tokens=settings.max_batch_tokens,
    )
