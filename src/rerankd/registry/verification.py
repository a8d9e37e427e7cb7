"""Whether a folder is a model that may be registered or served: it loads, it was verified, and it scores."""

from __future__ import annotations

import math
from pathlib import Path

from rerankd.errors import RerankdError, ScoringError, VerificationError
from rerankd.models.files import ModelFiles, load_model
from rerankd.registry.version import ModelVersion
from rerankd.scoring.backend import BACKENDS, PRECISIONS, open_backend
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from rerankd.scoring.fingerprint import fingerprint_for
from rerankd.scoring.scorer import Scorer

PROBE = ("What is the capital of France?", ["Paris is the capital of France.", "熊猫吃竹子。"])
PROBE_TOKENS = 1024
_DEVICES = ("cpu", "cuda", *(f"cuda:{number}" for number in range(16)))


def verified(files: ModelFiles) -> bool:
    """Whether a compiled model was found to rank like its source; a checkpoint is its own source."""
    parity = files.manifest.parity
    return not files.compiled or (parity is not None and parity.get("passed") is True and not parity.get("waived"))


def check_trusted(version: ModelVersion) -> None:
    """Refuse what no alias may lead to.

    Raises:
        VerificationError: it was not verified, and nobody promoted it nevertheless.
    """
    if not version.trusted:
        raise VerificationError(
            f"{version} is not verified: its order check failed, was waived or is missing.",
            hint=f"Name it as registry:{version.name}@{version.version}, or promote it with --force and a reason.",
        )


def check_copy(folder: Path, version: ModelVersion) -> ModelFiles:
    """Load a version's copy without scoring.

    Raises:
        ModelError: it is damaged, or this rerankd does not compute it.
        VerificationError: its manifest says other than the registry.
    """
    files = load_model(str(folder))
    files.tokenizer()
    if version.verified and not verified(files):
        raise VerificationError(
            f"{version} is registered as verified, and its manifest says otherwise.", hint="Register the model again."
        )
    return files


def probe(files: ModelFiles) -> None:
    """Score two pairs.

    Raises:
        RerankdError: the model does not give finite scores here.
    """
    try:
        scorer = Scorer(PairEncoder(files.tokenizer(), files.manifest.template), open_backend(files))
        limit = min(files.manifest.max_length, files.manifest.architecture.max_length)
        [scores] = scorer.score([PROBE], TruncationOptions(limit), max_batch_tokens=PROBE_TOKENS)
    except RerankdError:
        raise
    except Exception as error:  # whatever a runtime raises on a network that it cannot run
        raise ScoringError(
            f"{files.reference} cannot be run ({type(error).__name__}).", hint="Compile or train the model again."
        ) from error
    if not all(math.isfinite(score.raw_score) for score in scores):
        raise ScoringError(f"{files.reference} gives scores that are not numbers.", hint="Train the model again.")


def versions_of(files: ModelFiles) -> set[str]:
    """What `rerankd.scoring.fingerprint.model_fingerprint` may call a model, whatever computes it.

    A gate may have run on a GPU, and a registry on a machine without one.
    """
    return {
        fingerprint_for(files, backend, device, precision)
        for backend in BACKENDS[1:]
        for device in _DEVICES
        for precision in PRECISIONS
    }
