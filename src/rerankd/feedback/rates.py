"""Rates of feedback on rankings: ranks of the documents that people chose, before and after."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Z = 1.959964  # of a two-sided interval of 95 %
Verdict = Literal["helps", "hurts", "unclear", "too few"]


@dataclass(frozen=True, slots=True)
class FeedbackRates:
    """Feedback on the rankings of a window.

    Attributes:
        requests: rankings with a chosen document.
        negative: rejected documents and rejected rankings.
        reciprocal_before: reciprocal rank of the best chosen document before reranking, mean.
        reciprocal_after: the same after reranking.
        top5_before: share of requests whose best chosen document was among the first five before reranking.
        top5_after: the same after reranking.
        gain: reciprocal_after - reciprocal_before.
        gain_low: lower end of its 95 % interval; None for fewer than two requests.
        gain_high: upper end of its 95 % interval.
        verdict: `hurts` if the whole interval is below 0, `helps` if it is above, else `unclear`; `too few` for fewer
            requests than the floor.
    """

    requests: int
    negative: int
    reciprocal_before: float | None
    reciprocal_after: float | None
    top5_before: float | None
    top5_after: float | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    verdict: Verdict


def feedback_rates(ranks: Iterable[tuple[int, int]], negative: int = 0, floor: int = 30) -> FeedbackRates:
    """Return the rates of requests from the ranks of their best chosen document.

    Args:
        ranks: (rank before, rank after) of each request, from 1.
        negative: rejected documents and rankings.
        floor: requests that a verdict needs.

    Example:
        >>> rates = feedback_rates([(4, 1)] * 40)
        >>> rates.gain, rates.verdict
        (0.75, 'helps')
    """
    pairs = np.array(list(ranks), float).reshape(-1, 2)
    count = len(pairs)
    if not count:
        return FeedbackRates(0, negative, None, None, None, None, None, None, None, "too few")
    before, after = (1 / pairs[:, side] for side in (0, 1))
    gains = after - before
    gain, low, high = gain_interval(count, float(gains.sum()), float((gains**2).sum()))
    return FeedbackRates(
        requests=count,
        negative=negative,
        reciprocal_before=float(before.mean()),
        reciprocal_after=float(after.mean()),
        top5_before=float((pairs[:, 0] <= 5).mean()),
        top5_after=float((pairs[:, 1] <= 5).mean()),
        gain=gain,
        gain_low=low,
        gain_high=high,
        verdict=verdict_of(count, low, high, floor),
    )


def gain_interval(count: int, total: float, squares: float) -> tuple[float, float | None, float | None]:
    """Return the mean of gains and the ends of its 95 % interval, None for fewer than two gains.

    Args:
        count: number of gains, at least one.
        total: their sum.
        squares: sum of their squares.

    Example:
        >>> gain_interval(4, 2.0, 1.0)
        (0.5, 0.5, 0.5)
    """
    gain = total / count
    if count < 2:
        return gain, None, None
    variance = max(0.0, squares - total * gain) / (count - 1)
    half_width = Z * math.sqrt(variance / count)
    return gain, gain - half_width, gain + half_width


def verdict_of(count: int, low: float | None, high: float | None, floor: int = 30) -> Verdict:
    """Return what a 95 % interval of the gain says.

    Args:
        count: number of gains.
        low: lower end of the interval; None if it is not known.
        high: upper end.
        floor: gains that a verdict needs.

    Example:
        >>> verdict_of(100, 0.01, 0.2), verdict_of(10, 0.01, 0.2)
        ('helps', 'too few')
    """
    if count < floor or low is None or high is None:
        return "too few"
    return "helps" if low > 0 else "hurts" if high < 0 else "unclear"
