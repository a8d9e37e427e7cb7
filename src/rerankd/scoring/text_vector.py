"""Vector of a text, as an engine hands it out in the place of a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rerankd.scoring.encoder import EncodedPair
from rerankd.types import PairScore

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class TextVector(PairScore):
    """The vector of one text. Its `raw_score` is 0: a text alone has no score.

    Attributes:
        vector: unit vector, shape (dimensions,), float32.
    """

    vector: Vector = field(kw_only=True)


def to_vector(chunks: Sequence[EncodedPair], outputs: Sequence[Vector]) -> TextVector:
    """Return the vector of a text, which is read in one piece.

    Args:
        chunks: the encoded text.
        outputs: its vector.

    Example:
        >>> ids = np.array([0, 7, 2])
        >>> to_vector([EncodedPair(ids, 1, False)], [np.array([0.6, 0.8], np.float32)]).tokens
        3
    """
    (text,), (vector,) = chunks, outputs
    return TextVector(0.0, len(text), text.truncated, vector=vector)
