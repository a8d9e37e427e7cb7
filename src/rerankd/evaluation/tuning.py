"""How much the first stage should count: chosen on labelled data, judged on queries that did not choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rerankd.errors import InvalidRequestError
from rerankd.evaluation.bootstrap import Interval, intervals
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.measures import measure
from rerankd.evaluation.run import System, first_stage, fused_with_first_stage
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
class Tried:
    """A fusion with what it gave on all queries.

    Attributes:
        fusion: None for the model alone.
        means: of each dataset, in their order.
        mean: of those means.
    """

    fusion: Fusion | None
    means: tuple[float, ...]
    mean: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """What tuning found.

    Attributes:
        measure: what was maximised.
        datasets: their names.
        queries: how many there were.
        first: mean of the first stage on each dataset.
        tried: every fusion, the best first.
        chosen: the best one on all queries; None for the model alone.
        folds: what each fold's other queries chose.
        against_model: difference to the model alone, on queries that did not choose.
        against_first: and to the first stage alone.
    """

    measure: str
    datasets: tuple[str, ...]
    queries: int
    first: tuple[float, ...]
    tried: tuple[Tried, ...]
    chosen: Fusion | None
    folds: tuple[Fusion | None, ...]
    against_model: Interval
    against_first: Interval


def tune(work: Sequence[tuple[Dataset, System]], name: str = "nDCG@10", folds: int = FOLDS) -> Tuning:
    """Choose a fusion by cross-validation.

    Every dataset counts the same, however many queries it has. Of fusions that are equally good the one that is
    nearest to the model alone is taken.

    Args:
        work: datasets, each with the model's scores on it.
        name: of the measure.
        folds: parts that queries are cut into.

    Raises:
        InvalidRequestError: too few queries.
    """
    values = [_values(dataset, system, name) for dataset, system in work]
    before = [measure([name], d.qrels, first_stage(d).rankings, tuple(d.queries))[:, 0] for d, _ in work]
    if not work or min(len(part) for part in values) < folds:
        raise InvalidRequestError(
            f"There are too few queries for {folds} folds.", hint="Label more, or use fewer --folds."
        )
    parts = [_folds(len(part), folds) for part in values]
    choices = [_best([part[own != fold] for part, own in zip(values, parts, strict=True)]) for fold in range(folds)]
    held = []
    for part, own, first in zip(values, parts, before, strict=True):
        picked = part[np.arange(len(part)), np.asarray(choices)[own]]
        held.append(np.stack([picked - part[:, 0], picked - first], axis=1))
    # As every dataset counts the same, so do its queries together.
    total = sum(map(len, held))
    scaled = np.concatenate([part * (total / len(held) / len(part)) for part in held])
    model, base = intervals(scaled)
    means = np.stack([part.mean(axis=0) for part in values])
    tried = [Tried(fusion, tuple(means[:, i].tolist()), float(means[:, i].mean())) for i, fusion in enumerate(GRID)]
    return Tuning(
        name,
        tuple(dataset.name for dataset, _ in work),
        total,
        tuple(float(first.mean()) for first in before),
        tuple(sorted(tried, key=lambda one: -one.mean)),
        GRID[_best(values)],
        tuple(GRID[choice] for choice in choices),
        model,
        base,
    )


def _values(dataset: Dataset, system: System, name: str) -> Values:
    """The measure of every query under every fusion, shape (queries, fusions)."""
    queries = tuple(dataset.queries)
    columns = []
    for fusion in GRID:
        rankings = system.rankings if fusion is None else fused_with_first_stage(system, dataset, fusion).rankings
        columns.append(measure([name], dataset.qrels, rankings, queries)[:, 0])
    return np.stack(columns, axis=1)


def _best(values: Sequence[Values]) -> int:
    means = np.stack([part.mean(axis=0) for part in values]).mean(axis=0)
    return int(np.flatnonzero(means >= means.max() - 1e-9)[0])


def _folds(count: int, folds: int) -> npt.NDArray[np.int64]:
    """The fold of each query, nearly equal in size, the same every time."""
    order = np.random.default_rng(FOLD_SEED).permutation(count)
    found = np.empty(count, np.int64)
    found[order] = np.arange(count) % folds
    return found
