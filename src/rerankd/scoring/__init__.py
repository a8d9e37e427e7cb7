"""Scoring: pairs of texts to logits, in process, by ONNX Runtime or torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.scoring.backend import Backend, BackendChoice, choose_backend, open_backend
    from rerankd.scoring.batches import BatchLimits, plan_batches
    from rerankd.scoring.encoder import EncodedPair, PairEncoder, TruncationOptions
    from rerankd.scoring.fingerprint import model_fingerprint
    from rerankd.scoring.scorer import Scorer

__all__ = [
    "Backend",
    "BackendChoice",
    "BatchLimits",
    "EncodedPair",
    "PairEncoder",
    "Scorer",
    "TruncationOptions",
    "choose_backend",
    "model_fingerprint",
    "open_backend",
    "plan_batches",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.scoring.backend": ("Backend", "BackendChoice", "choose_backend", "open_backend"),
        "rerankd.scoring.batches": ("BatchLimits", "plan_batches"),
        "rerankd.scoring.encoder": ("EncodedPair", "PairEncoder", "TruncationOptions"),
        "rerankd.scoring.fingerprint": ("model_fingerprint",),
        "rerankd.scoring.scorer": ("Scorer",),
    },
)
