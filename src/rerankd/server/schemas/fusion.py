"""The fields of a body that fuse the model's order with that of the first stage."""

from __future__ import annotations

from typing import Literal

from rerankd.ranking.order import checked_fusion
from rerankd.settings import Settings
from rerankd.types import Fusion

FusionName = Literal["none", "weighted", "rrf"]


def resolve_fusion(method: FusionName | None, weight: float | None, settings: Settings) -> Fusion | None:
    """Return the fusion that a body asks for, with the settings as defaults.

    Args:
        method: method in the body; None for that of the settings.
        weight: weight in the body; None for that of the settings, or of another method for its default.
        settings: settings of the service.

    Raises:
        InvalidRequestError: the weight does not suit the method.
    """
    if weight is None and (method is None or method == settings.fusion):
        weight = settings.fusion_weight
    return checked_fusion(method or settings.fusion, weight)
