from __future__ import annotations

import random

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.evaluation.dataset import Dataset
from rerankd.evaluation.run import RankingRun, fuse_with_first_stage
from rerankd.evaluation.tuning import GRID, tune_fusion
from rerankd.types import Fusion


def made(model: float, first: float, queries: int = 60, name: str = "made") -> tuple[Dataset, RankingRun]:
    """Return queries of ten documents, of which one is right; both stages see it through noise."""
    draw = random.Random(3)
    scores, logits, qrels, rankings = {}, {}, {}, {}
    for q in (f"q{i}" for i in range(queries)):
        names = [f"d{i}" for i in range(10)]
        right = draw.choice(names)
        qrels[q] = {right: 1}
        scores[q] = {d: draw.gauss(0, 1) + first * (d == right) for d in names}
        logits[q] = {d: draw.gauss(0, 1) + model * (d == right) for d in names}
        rankings[q] = tuple(sorted(names, key=lambda d: -logits[q][d]))
    before = {q: tuple(sorted(first_stage, key=lambda d: -first_stage[d])) for q, first_stage in scores.items()}
    dataset = Dataset(name, dict.fromkeys(qrels, ""), {}, qrels, before, "made", scores=scores)
    return dataset, RankingRun("model", rankings, logits)


def test_two_views_are_better_than_one() -> None:
    tuned = tune_fusion([made(1.5, 1.5)])
    assert tuned.chosen is not None
    assert tuned.chosen.method == "weighted"
    assert 0.3 <= tuned.chosen.weight <= 3.0
    assert tuned.against_model.mean > 0
    assert tuned.against_first.mean > 0
    assert len(tuned.tried) == len(GRID)
    assert tuned.tried[0].mean >= tuned.tried[-1].mean


def test_a_first_stage_that_knows_nothing_gets_no_weight() -> None:
    tuned = tune_fusion([made(3.0, 0.0, 200)])
    assert tuned.chosen is None or tuned.chosen.weight <= 0.2
    assert abs(tuned.against_model.mean) < 0.02


def test_datasets_count_the_same() -> None:
    large, small = made(3.0, 0.0, 200, "large"), made(0.0, 3.0, 20, "small")
    tuned = tune_fusion([large, small])
    assert tuned.datasets == ("large", "small")
    assert tuned.queries == 220
    assert tuned.chosen is not None
    assert tuned.tried[0].mean == pytest.approx(sum(tuned.tried[0].means) / 2)


def test_too_few_queries() -> None:
    with pytest.raises(InvalidRequestError, match="too few"):
        tune_fusion([made(1.0, 1.0, 3)])


def test_fusion_on_a_dataset_is_that_of_requests() -> None:
    dataset, system = made(1.0, 1.0, 4)
    fused = fuse_with_first_stage(system, dataset, Fusion("weighted", 1e6))
    assert fused.rankings == dataset.candidates
    assert fused.name == "model + first-stage"
    with pytest.raises(InvalidRequestError, match="no scores"):
        fuse_with_first_stage(RankingRun("run", system.rankings), dataset, Fusion())
