"""Comparison of two runs on the same queries: paired differences of every measure, and a significance test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from rerankd.evaluation.bootstrap import Interval, bootstrap_intervals
from rerankd.evaluation.significance import ALPHA, holm, permutation_test

TIE = 1e-9

Values = npt.NDArray[np.float64]
Conclusion = Literal["better", "worse", "no difference shown"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run compared with the baseline on one dataset. Only the first measure is tested.

    Attributes:
        run: name of the run.
        baseline: name of the baseline.
        deltas: mean difference of each measure, run minus baseline, with paired intervals.
        wins: number of queries that are better by the first measure.
        ties: number of queries without a difference.
        losses: number of queries that are worse.
        p: p-value of the paired permutation test of the first measure.
        p_holm: p-value corrected for all comparisons of the evaluation.
    """

    run: str
    baseline: str
    deltas: tuple[Interval, ...]
    wins: int
    ties: int
    losses: int
    p: float
    p_holm: float

    @property
    def conclusion(self) -> Conclusion:
        """Outcome of the corrected test at `ALPHA`."""
        if self.p_holm >= ALPHA:
            return "no difference shown"
        return "better" if self.deltas[0].mean > 0 else "worse"


def compare_runs(run: str, after: Values, baseline: str, before: Values, *, samples: int | None = None) -> Comparison:
    """Compare a run with a baseline.

    Args:
        run: name of the run.
        after: values of the run, shape (queries, measures).
        baseline: name of the baseline.
        before: values of the baseline, same shape.
        samples: samples of the test and of the bootstrap; None for 10,000.

    Example:
        >>> after, before = np.array([[1.0], [1.0], [0.5]]), np.array([[0.5], [1.0], [1.0]])
        >>> comparison = compare_runs("a", after, "b", before)
        >>> (comparison.wins, comparison.ties, comparison.losses, comparison.conclusion)
        (1, 1, 1, 'no difference shown')
    """
    differences = np.where(np.abs(after - before) < TIE, 0.0, after - before)
    tested = differences[:, 0]
    options = {} if samples is None else {"samples": samples}
    p = permutation_test(tested, **options)
    return Comparison(
        run=run,
        baseline=baseline,
        deltas=bootstrap_intervals(differences, **options),
        wins=int((tested > 0).sum()),
        ties=int((tested == 0).sum()),
        losses=int((tested < 0).sum()),
        p=p,
        p_holm=p,
    )


def holm_corrected(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return the same comparisons with Holm's correction over all of them in `p_holm`."""
    corrected = holm([comparison.p for comparison in comparisons])
    return tuple(replace(comparison, p_holm=p) for comparison, p in zip(comparisons, corrected, strict=True))
