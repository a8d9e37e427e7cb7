"""Layers that read the document: they begin without effect, and learn what late interaction cannot tell apart."""

from __future__ import annotations

import pytest
import torch

from recipes.mini.bank import JudgedQuery
from recipes.mini.groups import SIZE
from recipes.mini.joint import JointRanker, train_reading
from recipes.mini.validation import scores
from tests.unit.recipes.test_training import CPU, a_bank, a_ranker


def test_a_new_joint_ranker_ranks_like_late_interaction() -> None:
    bank, ranker = a_bank(), a_ranker()
    asked: list[JudgedQuery] = bank.asked["any"]["pack"][:5]
    joint = JointRanker.of(ranker).eval()
    for before, after in zip(scores(ranker, bank, asked, 64, CPU), scores(joint, bank, asked, 64, CPU), strict=True):
        assert before.tolist() == pytest.approx(after.tolist(), abs=1e-3)


def test_only_the_reading_layers_are_trained() -> None:
    bank, ranker = a_bank(), a_ranker()
    joint = JointRanker.of(ranker)
    before = {name: value.clone() for name, value in joint.state_dict().items()}
    curve = train_reading("test", bank, joint, 1.5, CPU, tokens=SIZE * 112, workers=0)
    changed = {name for name, value in joint.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("read") for name in changed)
    assert curve[-1]["labels"] < 1.8


def test_another_network_is_refused() -> None:
    class Wider(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            ranker = a_ranker()
            self.encoder, self.extra = ranker.encoder, torch.nn.Linear(2, 2)

    with pytest.raises(ValueError, match="not those of late interaction"):
        JointRanker.of(Wider())  # type: ignore[arg-type]
