"""Activations: from logits to the scores that are returned. The order never depends on them: ranking is by logit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rerankd.errors import InvalidRequestError
from rerankd.types import Activation

ACTIVATIONS = ("sigmoid", "none", "softmax")


def check_activation(activation: str) -> None:
    """Check the name of an activation.

    Raises:
        InvalidRequestError: an unknown activation.
    """
    if activation not in ACTIVATIONS:
        raise InvalidRequestError(f"Unknown activation {activation!r}.", hint=f"Use one of {', '.join(ACTIVATIONS)}.")


def activate(logits: Sequence[float], activation: Activation) -> npt.NDArray[np.float64]:
    """Apply an activation in float64, where sigmoids of different logits stay different.

    Args:
        logits: logits of one query's documents, shape (documents,).
        activation: `sigmoid`, `none`, or `softmax` over the documents.

    Returns:
        Scores in the same order, shape (documents,), float64.

    Raises:
        InvalidRequestError: an unknown activation.

    Example:
        >>> activate([0.0, 2.0], "sigmoid").round(3).tolist()
        [0.5, 0.881]
    """
    check_activation(activation)
    values = np.asarray(logits, dtype=np.float64)
    if activation == "none" or values.size == 0:
        return values
    if activation == "softmax":
        exponents = np.exp(values - values.max())
        return np.asarray(exponents / exponents.sum())
    # Two branches, so that neither exponent overflows.
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + small), small / (1 + small))
