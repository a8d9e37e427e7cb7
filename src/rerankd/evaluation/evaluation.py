"""An evaluation: several runs on several datasets, each compared with one baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rerankd.errors import InvalidRequestError
from rerankd.evaluation.bootstrap import Interval, bootstrap_intervals
from rerankd.evaluation.comparison import Comparison, compare_runs, holm_corrected
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.measures import check_measures, measure_queries
from rerankd.evaluation.run import RankingRun

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """A run with its measures.

    Attributes:
        run: the run.
        values: value of each query and measure, shape (queries, measures).
        means: mean of each measure over all queries, with a bootstrap interval.
    """

    run: RankingRun
    values: Values
    means: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class DatasetResult:
    """Measures and comparisons on one dataset.

    Attributes:
        dataset: the dataset.
        query_ids: ids of the queries, in the order of all values.
        runs: all runs, the baseline included.
        comparisons: comparison of each run but the baseline.
    """

    dataset: Dataset
    query_ids: tuple[str, ...]
    runs: tuple[MeasuredRun, ...]
    comparisons: tuple[Comparison, ...]

    def run(self, name: str) -> MeasuredRun:
        """Return the run of a name."""
        return next(measured for measured in self.runs if measured.run.name == name)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Results of `evaluate`.

    Attributes:
        measures: names of the measures; the first is the one that is tested.
        baseline: name of the run that the others are compared with.
        results: one result per dataset.
    """

    measures: tuple[str, ...]
    baseline: str
    results: tuple[DatasetResult, ...]

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """All comparisons of all datasets; they share one Holm correction."""
        return tuple(comparison for result in self.results for comparison in result.comparisons)

    def below(self, delta: float) -> tuple[tuple[str, Comparison], ...]:
        """Return the comparisons whose lower bound of the first measure's difference is under `delta`.

        Returns:
            Pairs of dataset name and comparison.
        """
        return tuple(
            (result.dataset.name, comparison)
            for result in self.results
            for comparison in result.comparisons
            if comparison.deltas[0].low < delta
        )


def evaluate(
    work: Sequence[tuple[Dataset, Sequence[RankingRun]]], measures: Sequence[str], baseline: str = ""
) -> Evaluation:
    """Measure runs and compare them with a baseline.

    Args:
        work: datasets, each with its runs; the same run names on each dataset.
        measures: names as in ir_measures, such as `nDCG@10`; the first is tested.
        baseline: name of a run; empty for the first run.

    Raises:
        InvalidRequestError: no run, an unknown baseline, two runs of one name, or an unknown measure.
        MissingDependencyError: the extra `eval` is not installed.

    Example:
        >>> dataset = Dataset("tiny", {"q": ""}, {}, {"q": {"a": 1}}, {"q": ("b", "a")}, "")
        >>> runs = [RankingRun("before", {"q": ("b", "a")}), RankingRun("after", {"q": ("a", "b")})]
        >>> evaluation = evaluate([(dataset, runs)], ["RR"])
        >>> evaluation.results[0].comparisons[0].deltas[0].mean
        0.5
    """
    names = [run.name for run in work[0][1]] if work else []
    if not names:
        raise InvalidRequestError("There is nothing to evaluate.", hint="Name a model or a run.")
    if any([run.name for run in runs] != names or len(set(names)) < len(names) for _, runs in work):
        raise InvalidRequestError(
            "The names of the runs do not match.", hint="Use each name once, and the same names for every dataset."
        )
    if (baseline or names[0]) not in names:
        raise InvalidRequestError(f"There is no run {baseline!r}.", hint=f"The baseline is one of {', '.join(names)}.")
    checked = check_measures(measures)
    results = [_measure_dataset(dataset, runs, checked, baseline or names[0]) for dataset, runs in work]
    corrected = iter(holm_corrected([comparison for result in results for comparison in result.comparisons]))
    return Evaluation(
        checked,
        baseline or names[0],
        tuple(replace(result, comparisons=tuple(next(corrected) for _ in result.comparisons)) for result in results),
    )


def _measure_dataset(
    dataset: Dataset, runs: Sequence[RankingRun], measures: tuple[str, ...], baseline: str
) -> DatasetResult:
    query_ids = tuple(dataset.queries)
    values = {run.name: measure_queries(measures, dataset.qrels, run.rankings, query_ids) for run in runs}
    means = iter(bootstrap_intervals(np.hstack(list(values.values()))))
    measured = tuple(MeasuredRun(run, values[run.name], tuple(next(means) for _ in measures)) for run in runs)
    comparisons = tuple(
        compare_runs(name, after, baseline, values[baseline]) for name, after in values.items() if name != baseline
    )
    return DatasetResult(dataset, query_ids, measured, comparisons)
