"""Agreement of two sets of scores for the same pairs: differences and rank correlation."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
PERSISTENCE = 0.9  # p of rank-biased overlap: nine tenths of the weight is on the first 22 ranks or so


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two models over several queries.

    Attributes:
        pairs: number of compared pairs.
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
        reference: logits of the reference model.
        other: logits of the other model, in the same shape.
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


def kendall_tau_of_ranks(ranks: Sequence[int]) -> float | None:
    """Return Kendall's tau (Kendall 1938) between a permutation and the order 1, 2, 3 ...; None for fewer than two.

    Counts inversions in O(n log n), where `kendall_tau` compares all pairs.

    Args:
        ranks: a permutation of 1 to n.

    Example:
        >>> [kendall_tau_of_ranks(ranks) for ranks in ([1, 2, 3, 4], [4, 3, 2, 1], [2, 3, 4, 1])]
        [1.0, -1.0, 0.0]
    """
    count = len(ranks)
    if count < 2:
        return None
    ranks_before: list[int] = []
    inversions = 0
    for position, rank in enumerate(ranks):
        inversions += position - bisect_left(ranks_before, rank)
        insort(ranks_before, rank)
    return 1.0 - 4.0 * inversions / (count * (count - 1))


def rank_biased_overlap(ranks: npt.NDArray[np.int64], persistence: float = PERSISTENCE) -> float | None:
    """Return the extrapolated rank-biased overlap (Webber, Moffat and Zobel 2010) of 1, 2, 3 ... with another order.

    Args:
        ranks: rank of each item in the other order, from 1; shape (items,).
        persistence: p; depth d has a weight in proportion to p ** d.

    Example:
        >>> rank_biased_overlap(np.array([1, 2, 3])), round(rank_biased_overlap(np.array([3, 2, 1])), 3)
        (1.0, 0.855)
    """
    count = len(ranks)
    if not count:
        return None
    depths = np.arange(1, count + 1)
    # An item is in both prefixes from the larger of its two ranks on.
    shared = np.cumsum(np.bincount(np.maximum(ranks, depths), minlength=count + 1)[1:])
    overlap = shared / depths
    weights = persistence**depths
    return float(overlap[-1] * weights[-1] + (1 - persistence) / persistence * (overlap * weights).sum())
