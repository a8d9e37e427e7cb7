"""Verification of a model before it is registered or served: it loads, its order check passed, and it scores."""

from __future__ import annotations

import math
from pathlib import Path

from rerankd.errors import RerankdError, ScoringError, VerificationError
from rerankd.models.files import ModelFiles, load_model
from rerankd.registry.version import ModelVersion
from rerankd.scoring.backend import open_backend
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from rerankd.scoring.scorer import Scorer

PROBE = ("What is the capital of France?", ["Paris is the capital of France.", "熊猫吃竹子。"])
PROBE_TOKENS = 1024


def is_verified(files: ModelFiles) -> bool:
    """Return whether a compiled model passed its order check; a checkpoint needs none."""
    parity = files.manifest.parity
    return not files.compiled or (parity is not None and parity.get("passed") is True and not parity.get("waived"))


def check_trusted(version: ModelVersion) -> None:
    """Refuse a version that no alias may point to.

    Raises:
        VerificationError: the version is not verified, and nobody promoted it in spite of that.
    """
    if not version.trusted:
        raise VerificationError(
            f"{version} is not verified: its order check failed, was waived or is missing.",
            hint=f"Use registry:{version.name}@{version.version}, or promote it with --force and a --reason.",
        )


def check_copy(folder: Path, version: ModelVersion) -> ModelFiles:
    """Load the local copy of a version, without scoring.

    Raises:
        ModelError: the copy is damaged, or this release does not support the model.
        VerificationError: the manifest contradicts the registry.
    """
    files = load_model(str(folder))
    files.tokenizer()
    if version.verified and not is_verified(files):
        raise VerificationError(
            f"{version} is registered as verified, but its manifest says that it is not.",
            hint="Register the model again.",
        )
    return files


def probe(files: ModelFiles) -> None:
    """Score two pairs, and refuse a model whose scores are not finite.

    Raises:
        ScoringError: the model fails, or gives scores that are not numbers.
    """
    try:
        scorer = Scorer(PairEncoder(files.tokenizer(), files.manifest.template), open_backend(files))
        limit = min(files.manifest.max_length, files.manifest.architecture.max_length)
        [scores] = scorer.score([PROBE], TruncationOptions(limit), max_batch_tokens=PROBE_TOKENS)
    except RerankdError:
        raise
    except Exception as error:  # runtimes raise errors of their own
        raise ScoringError(
            f"{files.reference} cannot be run ({type(error).__name__}).", hint="Compile or train the model again."
        ) from error
    if not all(math.isfinite(score.raw_score) for score in scores):
        raise ScoringError(f"{files.reference} gives scores that are not numbers.", hint="Train the model again.")
