"""Checkpoints whose weights are merged and renamed, as those of jina-reranker-v2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rerankd import Reranker
from rerankd.errors import CorruptModelError
from rerankd.models.files import load_model
from tests.families.flash import flash_checkpoint

Weights = dict[str, np.ndarray]


@pytest.fixture
def flash(xlmr: Path, tmp_path: Path) -> Path:
    return flash_checkpoint(xlmr, tmp_path / "flash")


def edit(folder: Path, change: Callable[[Weights], Weights]) -> None:
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")


def test_the_weights_are_those_of_the_source(xlmr: Path, flash: Path) -> None:
    files, source = load_model(str(flash)), load_model(str(xlmr))
    assert files.manifest.architecture == source.manifest.architecture
    found, expected = files.checkpoint(), source.checkpoint()
    assert (found.own_layout, expected.own_layout) == (True, False)
    assert "roberta.encoder.layers.0.mixer.Wqkv.weight" in load_file(flash / "model.safetensors")
    for name in source.manifest.architecture.shapes():
        np.testing.assert_array_equal(found.tensor(name), expected.tensor(name))


def test_it_scores_as_its_source(xlmr: Path, flash: Path, mixed_pairs: list[tuple[str, str]]) -> None:
    scores = [
        Reranker(str(folder), backend="torch", device="cpu", precision="fp32").score(mixed_pairs[:10])
        for folder in (xlmr, flash)
    ]
    np.testing.assert_array_equal(scores[0], scores[1])


@pytest.mark.parametrize("native_checkpoint", ["xlmr"], indirect=True)
@pytest.mark.usefixtures("native")
def test_the_kernels_score_it_as_its_source(
    native_checkpoint: Path, tmp_path: Path, mixed_pairs: list[tuple[str, str]]
) -> None:
    flash = flash_checkpoint(native_checkpoint, tmp_path / "flash")
    scores = [Reranker(str(folder), backend="native").score(mixed_pairs[:10]) for folder in (native_checkpoint, flash)]
    np.testing.assert_array_equal(scores[0], scores[1])


@pytest.mark.parametrize("rows", [-1, 1])
def test_merged_weights_of_the_wrong_width(flash: Path, rows: int) -> None:
    def widen(weights: Weights) -> Weights:
        name = "roberta.encoder.layers.1.mixer.Wqkv.weight"
        return weights | {name: np.resize(weights[name], (3 * 64 + rows, 64))}

    edit(flash, widen)
    name = "roberta.encoder.layers.1.mixer.Wqkv.weight"
    sentence = rf"the merged weight {name} has shape \({192 + rows}, 64\), but .* \(192, 64\)"
    with pytest.raises(CorruptModelError, match=sentence):
        load_model(str(flash))


def test_one_weight_is_missing(flash: Path) -> None:
    edit(
        flash, lambda weights: {name: w for name, w in weights.items() if name != "roberta.encoder.layers.1.norm2.bias"}
    )
    with pytest.raises(
        CorruptModelError, match=r"weight roberta.encoder.layers.1.norm2.bias is missing, and the file is complete"
    ):
        load_model(str(flash))


def test_weights_of_another_family(flash: Path, bert: Path) -> None:
    edit(flash, lambda weights: load_file(bert / "model.safetensors"))
    sentence = r"look like those of BERT, not of the family xlm-roberta .*same repository"
    with pytest.raises(CorruptModelError, match=sentence):
        load_model(str(flash))


def test_weights_of_no_family(xlmr: Path, flash: Path) -> None:
    edit(flash, lambda weights: {name.replace("roberta", "net"): weight for name, weight in weights.items()})
    with pytest.raises(
        CorruptModelError, match=r"look like those of jina-reranker-v2 .*, not of the family xlm-roberta"
    ):
        load_model(str(flash))


def test_the_class_says_the_family_where_there_is_no_model_type(flash: Path) -> None:
    assert "model_type" not in json.loads((flash / "config.json").read_text())
    assert load_model(str(flash)).manifest.architecture.family == "xlm-roberta"
