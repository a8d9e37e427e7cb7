from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rerankd import Reranker
from rerankd.compiler.calibrate import write_calibrated
from rerankd.compiler.platt import Platt
from rerankd.errors import InvalidRequestError
from rerankd.models.files import load_model

pytestmark = pytest.mark.slow

PAIRS = [("what eats bamboo?", "A panda eats bamboo."), ("what eats bamboo?", "A car."), ("熊猫吃什么?", "竹子")]
PLATT = Platt(0.5, -1.25)


def logits(model: Path | str) -> list[float]:
    return [float(score) for score in Reranker(str(model)).score(PAIRS, activation="none")]


@pytest.mark.slow
def test_a_compiled_model(tmp_path: Path) -> None:
    before = np.array(logits("mini"))
    manifest = write_calibrated(load_model("mini"), tmp_path / "calibrated", PLATT, {"pairs": 100})
    assert logits(tmp_path / "calibrated") == pytest.approx(0.5 * before - 1.25, abs=1e-6)
    scores = Reranker(str(tmp_path / "calibrated")).score(PAIRS)
    assert scores.tolist() == pytest.approx(PLATT.probabilities(before).tolist(), abs=1e-6)
    again = write_calibrated(load_model(str(tmp_path / "calibrated")), tmp_path / "twice", Platt(2.0, 1.0), {})
    assert logits(tmp_path / "twice") == pytest.approx(2 * (0.5 * before - 1.25) + 1, abs=1e-6)
    bundled = load_model("mini").manifest.calibration or {}
    assert manifest.calibration is not None
    assert again.calibration is not None
    assert manifest.calibration["scale"] == pytest.approx(0.5 * bundled["scale"])
    assert manifest.calibration["offset"] == pytest.approx(0.5 * bundled["offset"] - 1.25)
    assert again.calibration["scale"] == pytest.approx(bundled["scale"])
    assert manifest.calibration["pairs"] == 100
    assert load_model("mini").manifest.calibration == bundled


@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
def test_a_checkpoint(checkpoint: Path, tmp_path: Path, stored: str) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    source = tmp_path / "source"
    source.mkdir()
    for path in checkpoint.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=getattr(torch, stored))
    model.save_pretrained(source)
    (source / "pytorch_model.bin").write_bytes(b"a pickle")
    write_calibrated(load_model(str(source)), tmp_path / "calibrated", PLATT, {})
    after = AutoModelForSequenceClassification.from_pretrained(tmp_path / "calibrated", dtype="auto").state_dict()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, after[name])}
    assert {name.rsplit(".", 1)[1] for name in changed} == {"weight", "bias"}
    assert all(name.startswith("classifier") for name in changed)
    for name in changed:
        exact = model.state_dict()[name].double() * 0.5 - (1.25 if name.endswith("bias") else 0)
        assert torch.equal(after[name], exact.to(getattr(torch, stored)))
    manifest = json.loads((tmp_path / "calibrated" / "rerankd.json").read_text())
    assert manifest["calibration"] == {"scale": 0.5, "offset": -1.25}
    assert "model.safetensors" in manifest["files"]
    assert "pytorch_model.bin" not in manifest["files"]
    load_model(str(tmp_path / "calibrated"))


def test_nothing_is_overwritten_or_left_behind(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    with pytest.raises(InvalidRequestError, match="exists"):
        write_calibrated(load_model("mini"), tmp_path / "there", PLATT, {})
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidRequestError, match="cannot be written"):
        write_calibrated(load_model("mini"), tmp_path / "file" / "out", PLATT, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]
