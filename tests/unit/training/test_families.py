"""Which families can be trained, and from what: BERT and XLM-RoBERTa have tests of their own."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rerankd import Reranker
from rerankd.errors import UnsupportedModelError
from rerankd.models.files import load_model
from rerankd.training.finetune import fine_tune
from rerankd.training.gptq import gptq_quantize
from rerankd.training.network import logits_of, open_network
from tests.families.deberta import deberta_checkpoint
from tests.families.gte import gte_checkpoint
from tests.unit.training.material import animals
from tests.unit.training.test_finetune import OPTIONS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deberta(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deberta_checkpoint(tmp_path_factory.mktemp("models") / "deberta", texts, num_hidden_layers=2)


def test_deberta_scores_as_it_is_served(deberta: Path, mixed_pairs: list[tuple[str, str]]) -> None:
    pairs = mixed_pairs[:12]
    served = Reranker(str(deberta), device="cpu", max_length=100).score(pairs, activation="none")
    logits = logits_of(open_network(load_model(str(deberta)), 100), pairs)
    np.testing.assert_allclose(logits.numpy(), served, atol=1e-4)


def test_all_layers_of_deberta_are_adapted_and_quantized(deberta: Path, mixed_pairs: list[tuple[str, str]]) -> None:
    network = open_network(load_model(str(deberta)), 64)
    names = [name for name, _ in network.model.named_modules() if re.fullmatch(network.adapted_layers, name)]
    assert len(names) == 2 * 6
    quantized = gptq_quantize(network.model, network.adapted_layers, lambda: logits_of(network, mixed_pairs[:4]))
    assert sorted(quantized) == sorted(f"{name}.weight" for name in names)


def test_a_family_that_cannot_be_trained_is_refused_before_anything_is_done(xlmr: Path, tmp_path: Path) -> None:
    vocabulary = load_model(str(xlmr)).manifest.architecture.vocabulary
    folder, steps = gte_checkpoint(tmp_path / "gte", xlmr, vocabulary), list[str]()
    with pytest.raises(
        UnsupportedModelError, match=r"gte belongs to the family gte, which rerankd does not train. Train a model"
    ):
        fine_tune(str(folder), animals(), tmp_path / "out", replace(OPTIONS, mine_negatives=False), report=steps.append)
    assert not steps
