from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rerankd import Reranker
from rerankd.compiler.compile import MIN_KENDALL_TAU
from rerankd.evaluation.dataset import Dataset
from rerankd.models.files import load_model
from rerankd.training.examples import Example
from rerankd.training.finetune import fine_tune
from rerankd.training.options import TrainOptions
from tests.unit.training.material import animals, late_interaction_model

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


@pytest.fixture(scope="module", params=["bert", "late"])
def base(request: pytest.FixtureRequest, bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    late = tmp_path_factory.mktemp("late") / "model"
    return bert if request.param == "bert" else late_interaction_model(bert, late)


def test_from_examples_to_a_candidate(base: Path, tmp_path: Path) -> None:
    messages: list[str] = []
    shares: list[float] = []
    judged = Dataset("zoo", {"1": animals()[0].query.upper()}, {}, {}, {}, "")
    examples = [*animals(), Example("no answer", ())]
    few = [replace(one, negatives=one.negatives[:1]) for one in examples]
    outcome = fine_tune(
        str(base),
        few,
        tmp_path / "out",
        OPTIONS,
        general=[Example("what is the capital of France?", ("Paris",), ("Rome",))],
        evaluation_sets=[judged],
        name="zoo",
        report=messages.append,
        progress=lambda share, losses: shares.append(share),
    )
    record = outcome.record
    assert record.keys() == RECORD
    assert json.loads((tmp_path / "out" / "train.json").read_bytes()) == json.loads(json.dumps(record))
    assert record["examples"]["leaked"] == 1
    assert record["examples"]["dropped"] == {"queries without an answer": 1}
    assert (record["training"], record["validation"], record["general"]) == (8, 3, 1)
    assert record["compiled"]["passed"]
    assert record["peak_memory_mb"] > 100
    assert shares[-1] == 1.0
    assert messages[0] == "Mining negatives"
    assert messages[-1] == "Calibrating"
    manifest = load_model(str(outcome.model)).manifest
    assert manifest.name == "zoo"
    assert manifest.calibration is None or manifest.calibration["pairs"] > 0
    assert "Fine-tuned from" in (outcome.model / "README.md").read_text(encoding="utf-8")
    scores = Reranker(str(outcome.model), device="cpu").score([("what does the panda eat?", "bamboo")])
    assert np.isfinite(scores).all()
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")) == []


def test_a_candidate_can_be_trained_again(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MIN_KENDALL_TAU, "int8", 0.3)  # activations of random weights round badly
    rounded, messages = replace(OPTIONS, precision="int8"), list[str]()
    first = fine_tune(str(base), animals(), tmp_path / "first", rounded, name="first", report=messages.append)
    again = fine_tune(str(first.model), animals(), tmp_path / "second", rounded, name="second")
    assert again.record["compiled"]["passed"]
    assert again.record["lora"]["largest"] < 1e-3
    manifest = load_model(str(again.model)).manifest
    assert (manifest.name, manifest.source, manifest.precision) == ("second", "first", "int8")
    assert "Quantizing with texts of the domain" in messages


def test_without_mining_what_nobody_judged_is_taken(bert: Path, tmp_path: Path) -> None:
    examples = [replace(one, negatives=(), unjudged=one.negatives) for one in animals()]
    outcome = fine_tune(str(bert), examples, tmp_path, replace(OPTIONS, mine_negatives=False))
    assert outcome.record["training"] == 9


def test_where_the_first_stage_missed_all_its_misses_are_learned_from(bert: Path, tmp_path: Path) -> None:
    messages: list[str] = []
    lost = [replace(one, positives=(), missed=one.positives) for one in animals()]
    outcome = fine_tune(str(bert), lost, tmp_path, OPTIONS, report=messages.append)
    assert "training on those that it missed" in messages[0]
    assert outcome.record["training"] == 9
    assert outcome.record["examples"]["dropped"] == {}


def test_distillation_keeps_to_what_the_teacher_scored(bert: Path, tmp_path: Path) -> None:
    scored = [replace(e, positive_scores=(4.0,), negative_scores=(1.0, 0.5, -3.0)) for e in animals()]
    outcome = fine_tune(str(bert), scored, tmp_path, replace(OPTIONS, loss="distil", group_size=8, method="full"))
    assert "lora" not in outcome.record
