"""A checkpoint in the layout of jina-reranker-v2 scores as the same weights in transformers' layout do everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rerankd import Reranker
from rerankd.models.files import load_model
from tests.conftest import compile_twice
from tests.families.flash import flash_checkpoint
from tests.integration.test_parity import LENGTH, Scores, loaded, reference_ids

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def flash(xlmr: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flash_checkpoint(xlmr, tmp_path_factory.mktemp("models") / "flash")


@pytest.fixture(scope="module")
def expected(xlmr: Path, mixed_pairs: list[tuple[str, str]]) -> Scores:
    import torch

    tokenizer, model = loaded(xlmr)
    with torch.inference_mode():
        ids = [reference_ids(tokenizer, *pair, "only_second")[0] for pair in mixed_pairs[:100]]
        return np.array([float(model(input_ids=torch.tensor([row])).logits) for row in ids])


def scores_of(folder: Path, pairs: list[tuple[str, str]], **options: str) -> Scores:
    return Reranker(str(folder), max_length=LENGTH, **options).score(pairs[:100], activation="none")  # type: ignore[arg-type]


def test_torch(flash: Path, expected: Scores, mixed_pairs: list[tuple[str, str]]) -> None:
    scores = scores_of(flash, mixed_pairs, backend="torch", device="cpu", precision="fp32")
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_compiled(
    flash: Path, expected: Scores, mixed_pairs: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folders = compile_twice(flash, tmp_path_factory.mktemp("compiled"))
    np.testing.assert_allclose(scores_of(folders["fp32"], mixed_pairs), expected, atol=1e-4)
    parity = load_model(str(folders["int8"])).manifest.parity
    assert parity is not None
    assert parity["reference"].startswith("torch ")
    assert parity["kendall_tau"] > 0.8


def test_training_starts_from_the_same_weights(flash: Path, xlmr: Path, mixed_pairs: list[tuple[str, str]]) -> None:
    from rerankd.training.network import logits_of, open_network

    logits = [logits_of(open_network(load_model(str(f)), LENGTH), mixed_pairs[:8]) for f in (flash, xlmr)]
    np.testing.assert_allclose(logits[0].numpy(), logits[1].numpy(), atol=1e-5)
