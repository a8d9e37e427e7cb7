"""How far two sets of scores for the same pairs agree: differences and order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two models over several queries.

    Attributes:
        pairs: how many pairs were compared.
        max_delta: largest absolute difference of two logits.
        spread: standard deviation of the reference's logits, to read `max_delta` against.
        kendall_tau: rank correlation, mean over queries, -1 to 1.
        top5_overlap: share of the reference's five best that are among the other's five best, mean over queries.
    """

    pairs: int
    max_delta: float
    spread: float
    kendall_tau: float
    top5_overlap: float


def kendall_tau(first: Scores, second: Scores) -> float:
    """Kendall's tau-b (Kendall 1945): concordant minus discordant pairs, corrected for ties; 1.0 under two scores.

    Example:
        >>> kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
        0.3333333333333333
    """
    upper = np.triu_indices(len(first), k=1)
    a = np.sign(first[:, None] - first[None, :])[upper]
    b = np.sign(second[:, None] - second[None, :])[upper]
    weight = np.sqrt(float((a != 0).sum()) * float((b != 0).sum()))
    if weight == 0:
        return 1.0 if bool((a == b).all()) else 0.0
    return float((a * b).sum() / weight)


def top_overlap(first: Scores, second: Scores, n: int = 5) -> float:
    """Share of the `n` best of `first` that are among the `n` best of `second`.

    Example:
        >>> top_overlap(np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0]), n=2)
        0.5
    """
    best, other = (set(np.argsort(-scores, kind="stable")[:n].tolist()) for scores in (first, second))
    return len(best & other) / max(1, len(best))


def agreement(reference: Sequence[Scores], other: Sequence[Scores]) -> Agreement:
    """Compare two models; each sequence holds one array of logits per query.

    Args:
        reference: what is taken as right.
        other: what is judged, in the same shape.
    """
    flat, flat_other = np.concatenate(list(reference)), np.concatenate(list(other))
    both = list(zip(reference, other, strict=True))
    return Agreement(
        pairs=len(flat),
        max_delta=float(np.abs(flat - flat_other).max()),
        spread=float(flat.std()),
        kendall_tau=float(np.mean([kendall_tau(a, b) for a, b in both])),
        top5_overlap=float(np.mean([top_overlap(a, b) for a, b in both])),
    )
