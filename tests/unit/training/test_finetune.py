from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankd import Reranker
from rerankd.errors import InvalidRequestError
from rerankd.training import finetune
from rerankd.training import options as training_options
from rerankd.training.examples import Example
from rerankd.training.finetune import fine_tune
from rerankd.training.options import TrainOptions
from tests.unit.training.material import animals

OPTIONS = TrainOptions(
    epochs=1,
    groups_per_step=3,
    group_size=4,
    max_length=48,
    lora_rank=4,
    evaluations=2,
    validation=0.25,
    precision="fp32",
    device="cpu",
)
RECORD = {
    "base", "base_version", "name", "options", "examples", "training", "validation", "general", "data", "seconds",
    "peak_memory_mb", "compiled", "learning_parameters", "steps", "validation_loss", "history", "resumed", "lora",
}  # fmt: skip


def test_examples_without_others_are_refused(bert: Path, tmp_path: Path) -> None:
    lonely = [Example(f"q{n}", (f"a{n}",)) for n in range(8)]
    with pytest.raises(InvalidRequestError, match="No example has a negative"):
        fine_tune(str(bert), lonely, tmp_path, replace(OPTIONS, mine_negatives=False))


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ({"method": "qlora"}, "Unknown method 'qlora'"),
        ({"loss": "hinge"}, "Unknown loss 'hinge'"),
        ({"group_size": 1}, "at least 2"),
        ({"validation": 0.0}, "shares below 0.9"),
        ({"replay": 0.95}, "shares below 0.9"),
        ({"precision": "int3"}, "Cannot compile to 'int3'"),
        ({"learning_rate": 0.0}, "learning rate"),
        ({"lora_rank": 0}, "at least 1"),
        ({"patience": -1}, "at least 0"),
        ({"max_length": 4}, "16 tokens"),
        ({"device": "tpu"}, "Unknown device"),
    ],
)
def test_options_that_are_refused_before_anything_is_done(
    tmp_path: Path, change: dict[str, Any], messages: str
) -> None:
    with pytest.raises(InvalidRequestError, match=messages):
        fine_tune("nowhere", animals(), tmp_path / "out", replace(OPTIONS, **change))
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_options, "cuda_available", lambda: False)
    with pytest.raises(InvalidRequestError, match="sees no CUDA GPU"):
        fine_tune("nowhere", animals(), tmp_path, replace(OPTIONS, device="cuda"))


def test_a_max_length_above_the_limit_of_the_model_is_refused_before_anything_is_done(
    bert: Path, tmp_path: Path
) -> None:
    options = replace(OPTIONS, max_length=513, mine_negatives=False, distillation_weight=0.0)
    steps: list[str] = []
    sentence = r"max_length is 513; .* reads at most 512 tokens\. Train with a smaller max_length\."
    with pytest.raises(InvalidRequestError, match=sentence):
        fine_tune(str(bert), animals(), tmp_path / "out", options, report=steps.append)
    assert not steps
    assert not (tmp_path / "out").exists()


def test_a_candidate_that_ranks_upside_down_is_not_calibrated(tiny: Path, tmp_path: Path) -> None:
    reranker = Reranker(str(tiny), device="cpu", max_length=48)
    scales = []
    for one in animals(4):
        passages = [*one.positives, *one.negatives]
        order = np.argsort(reranker.score([(one.query, text) for text in passages]), kind="stable")
        texts = [passages[position] for position in order]
        scales.append(Example(one.query, (texts[0],), tuple(texts[1:])))
    before = (tiny / "rerankd.json").read_bytes()
    finetune._calibrate(tiny, scales, OPTIONS)
    assert (tiny / "rerankd.json").read_bytes() == before
