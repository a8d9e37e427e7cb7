"""Two systems on the same queries: the difference of every measure, and whether it is more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from rerankd.evaluation.bootstrap import Interval, intervals
from rerankd.evaluation.significance import ALPHA, holm, permutation_test

TIE = 1e-9

Values = npt.NDArray[np.float64]
Verdict = Literal["better", "worse", "no difference shown"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One system against the baseline on one dataset. The first measure is the one that is tested.

    Attributes:
        system: its name.
        baseline: the other's name.
        deltas: system minus baseline of each measure, paired.
        wins: queries that got better by the first measure.
        ties: queries that stayed.
        losses: queries that got worse.
        p: of the paired permutation test of the first measure.
        p_holm: the same, corrected for all comparisons of the evaluation.
    """

    system: str
    baseline: str
    deltas: tuple[Interval, ...]
    wins: int
    ties: int
    losses: int
    p: float
    p_holm: float

    @property
    def verdict(self) -> Verdict:
        """What the corrected test says."""
        if self.p_holm >= ALPHA:
            return "no difference shown"
        return "better" if self.deltas[0].mean > 0 else "worse"


def compare(system: str, after: Values, baseline: str, before: Values, *, samples: int | None = None) -> Comparison:
    """Compare two systems.

    Args:
        system: name of what is judged.
        after: its values, shape (queries, measures).
        baseline: name of what it is compared with.
        before: its values, in the same shape.
        samples: of test and bootstrap; None for 10,000.

    Example:
        >>> found = compare("a", np.array([[1.0], [1.0], [0.5]]), "b", np.array([[0.5], [1.0], [1.0]]))
        >>> (found.wins, found.ties, found.losses, found.verdict)
        (1, 1, 1, 'no difference shown')
    """
    differences = np.where(np.abs(after - before) < TIE, 0.0, after - before)
    first = differences[:, 0]
    options = {} if samples is None else {"samples": samples}
    p = permutation_test(first, **options)
    return Comparison(
        system, baseline, intervals(differences, **options),
        int((first > 0).sum()), int((first == 0).sum()), int((first < 0).sum()), p, p,
    )  # fmt: skip


def corrected(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The same comparisons, with Holm's correction over all of them."""
    values = holm([comparison.p for comparison in comparisons])
    return tuple(replace(found, p_holm=value) for found, value in zip(comparisons, values, strict=True))
