"""Choice of a fusion with the first stage: cross-validated, judged on queries that did not take part in the choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rerankd.errors import InvalidRequestError
from rerankd.evaluation.bootstrap import Interval, bootstrap_intervals
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.measures import measure_queries
from rerankd.evaluation.run import RankingRun, first_stage_run, fuse_with_first_stage
from rerankd.types import Fusion

Values = npt.NDArray[np.float64]

FOLDS = 5
FOLD_SEED = 11
WEIGHTS = {"weighted": (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0), "rrf": (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)}
GRID: tuple[Fusion | None, ...] = (
    None,
    *(Fusion("weighted", weight) for weight in WEIGHTS["weighted"]),
    *(Fusion("rrf", weight) for weight in WEIGHTS["rrf"]),
)


@dataclass(frozen=True, slots=True)
class FusionResult:
    """Means of one fusion on all queries.

    Attributes:
        fusion: the fusion; None for the model alone.
        means: mean of each dataset, in the order of the datasets.
        mean: mean over datasets.
    """

    fusion: Fusion | None
    means: tuple[float, ...]
    mean: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """Results of a search for the best fusion.

    Attributes:
        measure: measure that was maximised.
        datasets: names of the datasets.
        queries: number of queries.
        first: mean of the first stage on each dataset.
        tried: result of every fusion, the best first.
        chosen: best fusion on all queries; None for the model alone.
        folds: fusion that each fold's training queries chose.
        against_model: difference to the model alone on held-out queries.
        against_first: difference to the first stage alone on held-out queries.
    """

    measure: str
    datasets: tuple[str, ...]
    queries: int
    first: tuple[float, ...]
    tried: tuple[FusionResult, ...]
    chosen: Fusion | None
    folds: tuple[Fusion | None, ...]
    against_model: Interval
    against_first: Interval


def tune_fusion(work: Sequence[tuple[Dataset, RankingRun]], measure: str = "nDCG@10", folds: int = FOLDS) -> Tuning:
    """Choose a fusion by cross-validation.

    Every dataset weighs the same, however many queries it has. Of equally good fusions the one nearest to the model
    alone is chosen.

    Args:
        work: datasets, each with a model's run on it.
        measure: measure to maximise.
        folds: number of folds.

    Raises:
        InvalidRequestError: fewer queries than folds.
    """
    values = [_measure_grid(dataset, run, measure) for dataset, run in work]
    first_stage = [
        measure_queries([measure], dataset.qrels, first_stage_run(dataset).rankings, tuple(dataset.queries))[:, 0]
        for dataset, _ in work
    ]
    if not work or min(len(rows) for rows in values) < folds:
        raise InvalidRequestError(
            f"There are too few queries for {folds} folds.", hint="Label more, or use fewer --folds."
        )
    fold_of = [_assign_folds(len(rows), folds) for rows in values]
    choices = [
        _best_fusion([rows[assigned != fold] for rows, assigned in zip(values, fold_of, strict=True)])
        for fold in range(folds)
    ]
    differences = []
    for rows, assigned, first in zip(values, fold_of, first_stage, strict=True):
        held_out = rows[np.arange(len(rows)), np.asarray(choices)[assigned]]
        differences.append(np.stack([held_out - rows[:, 0], held_out - first], axis=1))
    # Scaled so that every dataset weighs the same in one mean over all queries.
    total = sum(map(len, differences))
    scaled = np.concatenate([rows * (total / len(differences) / len(rows)) for rows in differences])
    against_model, against_first = bootstrap_intervals(scaled)
    means = np.stack([rows.mean(axis=0) for rows in values])
    results = [
        FusionResult(fusion, tuple(means[:, column].tolist()), float(means[:, column].mean()))
        for column, fusion in enumerate(GRID)
    ]
    return Tuning(
        measure=measure,
        datasets=tuple(dataset.name for dataset, _ in work),
        queries=total,
        first=tuple(float(first.mean()) for first in first_stage),
        tried=tuple(sorted(results, key=lambda result: -result.mean)),
        chosen=GRID[_best_fusion(values)],
        folds=tuple(GRID[choice] for choice in choices),
        against_model=against_model,
        against_first=against_first,
    )


def _measure_grid(dataset: Dataset, run: RankingRun, measure: str) -> Values:
    """Return the measure of every query under every fusion, shape (queries, fusions)."""
    columns = []
    for fusion in GRID:
        rankings = run.rankings if fusion is None else fuse_with_first_stage(run, dataset, fusion).rankings
        columns.append(measure_queries([measure], dataset.qrels, rankings, tuple(dataset.queries))[:, 0])
    return np.stack(columns, axis=1)


def _best_fusion(values: Sequence[Values]) -> int:
    means = np.stack([rows.mean(axis=0) for rows in values]).mean(axis=0)
    return int(np.flatnonzero(means >= means.max() - 1e-9)[0])


def _assign_folds(count: int, folds: int) -> npt.NDArray[np.int64]:
    """Return the fold of each query: sizes differ by one at most, the same every time."""
    order = np.random.default_rng(FOLD_SEED).permutation(count)
    fold_of = np.empty(count, np.int64)
    fold_of[order] = np.arange(count) % folds
    return fold_of
