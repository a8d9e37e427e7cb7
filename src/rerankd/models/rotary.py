"""Rotary position embeddings (Su et al. 2021): each pair of a head's numbers is turned by an angle per position."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def rotary_tables(width: int, theta: float, length: int, divisor: float = 1.0) -> tuple[Floats, Floats]:
    """Return cosines and sines of the angles, computed in float32 as transformers does.

    Args:
        width: numbers of a head; number j is turned together with number j + width / 2.
        theta: base of the frequencies.
        length: positions.
        divisor: divisor of the frequencies.

    Returns:
        Two tables of shape (length, width / 2), float32.

    Example:
        >>> rotary_tables(4, 10000.0, 2)[1].astype(float).round(4).tolist()
        [[0.0, 0.0], [0.8415, 0.01]]
    """
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    frequencies = np.float32(1) / np.power(np.float32(theta), exponents) / np.float32(divisor)
    angles = np.arange(length, dtype=np.float32)[:, None] * frequencies
    cosines: Floats = np.cos(angles)
    sines: Floats = np.sin(angles)
    return cosines, sines
