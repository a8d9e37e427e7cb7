"""What a family is not supported for is one sentence, with what to do instead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rerankd._common.processor import INT8_FLAGS
from rerankd.compiler import first_use
from rerankd.compiler.calibrate import write_calibrated
from rerankd.compiler.compile import compile_model
from rerankd.compiler.platt import Platt
from rerankd.errors import UnsupportedModelError
from rerankd.models import families
from rerankd.models.families import FAMILIES
from rerankd.models.families.bert import BertArchitecture
from rerankd.models.files import ModelFiles, load_model
from rerankd.scoring.backend import choose_backend
from rerankd.training.finetune import fine_tune


@pytest.fixture
def files(bert: Path, monkeypatch: pytest.MonkeyPatch) -> ModelFiles:
    """Return a model of a family that is neither trained nor compiled."""
    limited = replace(FAMILIES["bert"], trained=False, compiled=False)
    monkeypatch.setattr(families, "FAMILIES", {**FAMILIES, "bert": limited})
    return load_model(str(bert))


def test_training(files: ModelFiles, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="family bert, which rerankd does not train") as caught:
        fine_tune(str(files.folder), [], tmp_path / "run")
    assert "Train a model of the family xlm-roberta" in caught.value.hint
    assert "may be a LoRA adapter" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_compiling(files: ModelFiles, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="family bert, which is not compiled to ONNX") as caught:
        compile_model(files, tmp_path / "out")
    assert "Pass the checkpoint itself" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_the_onnx_backend(files: ModelFiles) -> None:
    with pytest.raises(UnsupportedModelError, match="family bert, which is not compiled to ONNX"):
        choose_backend(files, "onnx")
    assert "compile it" not in choose_backend(files, "auto", "cpu").reason


def test_first_use_compiles_nothing(files: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_use, "MIN_HALF_PARAMETERS", 0)
    monkeypatch.setattr(first_use, "cpu_flags", lambda: INT8_FLAGS)
    assert not first_use._compiles_to_onnx(files, first_use.FirstUse())
    monkeypatch.setattr(families, "FAMILIES", FAMILIES)
    assert first_use._compiles_to_onnx(files, first_use.FirstUse())


def test_a_head_without_a_bias(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, shapes = load_model(str(bert)), BertArchitecture.shapes

    def without_bias(self: BertArchitecture) -> dict[str, tuple[int, ...]]:
        return {name: shape for name, shape in shapes(self).items() if name != "classifier.bias"}

    monkeypatch.setattr(BertArchitecture, "shapes", without_bias)
    with pytest.raises(UnsupportedModelError, match="has no bias that a calibration could be folded into") as caught:
        write_calibrated(files, tmp_path / "out", Platt(1.0, 0.0), {})
    assert "Compile the model first" in caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_that_is_trained_says_which_layers(name: str) -> None:
    assert FAMILIES[name].trained == bool(FAMILIES[name].adapted_layers)
