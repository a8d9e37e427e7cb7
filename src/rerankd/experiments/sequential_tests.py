"""Sequential tests: valid at any number of looks, with an error rate of at most alpha over all of them.

A sign test with a beta prior for interleaving; asymptotic confidence sequences (Waudby-Smith et al., arXiv 2103.06476)
for differences of means; a Dirichlet-multinomial mixture for the sample ratio. All are functions of counts and sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PRIOR = 1.0
TUNED_FOR = 5000  # units at which a confidence sequence is tightest


def sign_evidence(wins: int, losses: int, prior: float = PRIOR) -> float:
    """Return the evidence against as many wins as losses: a likelihood ratio with a Beta(prior, prior) mixture.

    At or above 1 / alpha the null hypothesis is rejected, at any number of looks (Ville's inequality).

    Example:
        >>> sign_evidence(0, 0), sign_evidence(20, 2) > 100, sign_evidence(11, 11) < 1
        (1.0, True, True)
    """
    total = wins + losses
    log = _log_beta(prior + wins, prior + losses) - _log_beta(prior, prior) + total * math.log(2)
    return math.exp(min(log, 700.0))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@dataclass(frozen=True, slots=True)
class Sums:
    """Sufficient statistics of a metric of one variant: count, sum and sum of squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.count + other.count, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        """Mean; 0 without values."""
        return self.total / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """Sample variance; 0 for fewer than two values."""
        if self.count < 2:
            return 0.0
        return max(0.0, (self.squares - self.total**2 / self.count) / (self.count - 1))

    @classmethod
    def of(cls, values: Sequence[float]) -> Sums:
        """Return the sums of values.

        Example:
            >>> Sums.of([1.0, 0.0, 1.0]).mean
            0.6666666666666666
        """
        return cls(len(values), float(sum(values)), float(sum(value * value for value in values)))


@dataclass(frozen=True, slots=True)
class ConfidenceBounds:
    """A difference of means and a confidence interval that holds at all times together (a confidence sequence)."""

    mean: float
    low: float
    high: float


def difference(control: Sums, treated: Sums, alpha: float, tuned_for: int = TUNED_FOR) -> ConfidenceBounds:
    """Return the mean of `treated` less that of `control`, with bounds that hold at every look.

    The bounds are infinite as long as a variant has fewer than two values.

    Args:
        control: sums of the champion.
        treated: sums of the challenger.
        alpha: probability that the bounds miss the true difference at any look.
        tuned_for: number of values at which the bounds are tightest.

    Example:
        >>> bounds = difference(Sums(1000, 10.0, 10.0), Sums(1000, 300.0, 300.0), 0.05)
        >>> bounds.low > 0.2
        True
    """
    mean = treated.mean - control.mean
    if min(control.count, treated.count) < 2:
        return ConfidenceBounds(mean, -math.inf, math.inf)
    count = control.count + treated.count
    # Zero variance so far is no certainty: one value of the other kind is added to each variant.
    spread = count * (_cautious_variance(control) / control.count + _cautious_variance(treated) / treated.count)
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / tuned_for
    inside = count * rho2 + 1
    half = math.sqrt(spread) * math.sqrt(2 * inside / (count**2 * rho2) * math.log(math.sqrt(inside) / alpha))
    return ConfidenceBounds(mean, mean - half, mean + half)


def _cautious_variance(sums: Sums) -> float:
    rate = 1 / (sums.count + 1)
    return max(sums.variance, rate * (1 - rate) * max(1.0, abs(sums.mean)) ** 2)


def ratio_evidence(counts: Sequence[int], shares: Sequence[float], strength: float = 1000.0) -> float:
    """Return the evidence of a sample ratio mismatch: a Dirichlet mixture around the expected shares.

    Args:
        counts: units or requests of each variant.
        shares: expected share of each variant; they sum to 1.
        strength: concentration of the mixture; larger values find smaller mismatches.

    Example:
        >>> ratio_evidence([500, 500], [0.5, 0.5]) < 1 < 100 < ratio_evidence([700, 300], [0.5, 0.5])
        True
    """
    priors = [strength * share for share in shares]
    log = math.lgamma(strength) - math.lgamma(strength + sum(counts))
    for count, prior, share in zip(counts, priors, shares, strict=True):
        if share <= 0:
            return math.inf if count else 1.0
        log += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return math.exp(max(-700.0, min(log, 700.0)))
