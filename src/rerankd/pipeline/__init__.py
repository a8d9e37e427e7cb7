"""One request from top to bottom: experiment, model, quota, engine, result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.pipeline.experiment import VariantScorer
    from rerankd.pipeline.pipeline import Pipeline
    from rerankd.pipeline.scores import Charge, ModelScores
    from rerankd.pipeline.shadow import ShadowQueue

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.pipeline.experiment": ("VariantScorer",),
        "rerankd.pipeline.pipeline": ("Pipeline",),
        "rerankd.pipeline.scores": (
            "Charge",
            "ModelScores",
        ),
        "rerankd.pipeline.shadow": ("ShadowQueue",),
    },
)

__all__ = ["Charge", "ModelScores", "Pipeline", "ShadowQueue", "VariantScorer"]
