"""An evaluation: several systems on several datasets, each against one baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rerankd.errors import InvalidRequestError
from rerankd.evaluation.bootstrap import Interval, intervals
from rerankd.evaluation.comparison import Comparison, compare, corrected
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.measures import check_measures, measure
from rerankd.evaluation.run import System

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """A system with its values.

    Attributes:
        system: what was measured.
        values: of each query and measure, shape (queries, measures).
        means: of each measure, over all queries.
    """

    system: System
    values: Values
    means: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class DatasetResult:
    """What was found on one dataset.

    Attributes:
        dataset: the dataset.
        queries: ids, in the order of all values.
        systems: all of them, the baseline among them.
        comparisons: of each system but the baseline.
    """

    dataset: Dataset
    queries: tuple[str, ...]
    systems: tuple[Measured, ...]
    comparisons: tuple[Comparison, ...]

    def measured(self, name: str) -> Measured:
        """The system of that name."""
        return next(found for found in self.systems if found.system.name == name)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that was found.

    Attributes:
        measures: names; the first is the one that is tested.
        baseline: name of the system that the others are compared with.
        results: one for each dataset.
    """

    measures: tuple[str, ...]
    baseline: str
    results: tuple[DatasetResult, ...]

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """All comparisons, which share one correction."""
        return tuple(comparison for result in self.results for comparison in result.comparisons)

    def below(self, delta: float) -> tuple[tuple[str, Comparison], ...]:
        """Datasets and comparisons whose lower bound of the first measure's difference is under `delta`."""
        return tuple(
            (result.dataset.name, found)
            for result in self.results
            for found in result.comparisons
            if found.deltas[0].low < delta
        )


def evaluate(
    work: Sequence[tuple[Dataset, Sequence[System]]], measures: Sequence[str], baseline: str = ""
) -> Evaluation:
    """Measure and compare.

    Args:
        work: datasets, each with the systems to compare on it; the same names on each.
        measures: as ir_measures names them; the first is tested.
        baseline: a system's name; empty for the first system.

    Raises:
        InvalidRequestError: no system, an unknown baseline, two systems of one name, or an unknown measure.

    Example:
        >>> dataset = Dataset("tiny", {"q": ""}, {}, {"q": {"a": 1}}, {"q": ("b", "a")}, "")
        >>> systems = [System("before", {"q": ("b", "a")}), System("after", {"q": ("a", "b")})]
        >>> found = evaluate([(dataset, systems)], ["RR"])
        >>> found.results[0].comparisons[0].deltas[0].mean
        0.5
    """
    names = [system.name for system in work[0][1]] if work else []
    if not names:
        raise InvalidRequestError("There is nothing to evaluate.", hint="Name a model or a run.")
    if any([system.name for system in systems] != names or len(set(names)) < len(names) for _, systems in work):
        raise InvalidRequestError("The systems' names do not fit.", hint="Each name once, the same for every dataset.")
    if (baseline or names[0]) not in names:
        raise InvalidRequestError(
            f"There is no system {baseline!r}.", hint=f"The baseline is one of {', '.join(names)}."
        )
    checked = check_measures(measures)
    results = [_result(dataset, systems, checked, baseline or names[0]) for dataset, systems in work]
    left = iter(corrected([found for result in results for found in result.comparisons]))
    return Evaluation(
        checked,
        baseline or names[0],
        tuple(replace(result, comparisons=tuple(next(left) for _ in result.comparisons)) for result in results),
    )


def _result(dataset: Dataset, systems: Sequence[System], measures: tuple[str, ...], baseline: str) -> DatasetResult:
    queries = tuple(dataset.queries)
    values = {system.name: measure(measures, dataset.qrels, system.rankings, queries) for system in systems}
    bounds = iter(intervals(np.hstack(list(values.values()))))
    measured = tuple(Measured(system, values[system.name], tuple(next(bounds) for _ in measures)) for system in systems)
    comparisons = tuple(
        compare(name, found, baseline, values[baseline]) for name, found in values.items() if name != baseline
    )
    return DatasetResult(dataset, queries, measured, comparisons)
