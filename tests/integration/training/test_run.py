from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rerankd.training.examples import Example, split
from rerankd.training.groups import training_groups, with_distillation
from rerankd.training.losses import loss_of
from rerankd.training.network import Network, cross_encoder, logits_of, open_network
from rerankd.training.options import TrainOptions
from rerankd.training.preparation import base_scorer
from rerankd.training.run import TrainingRun
from tests.unit.training.material import animals, files_of, late_interaction_model

QUICK = TrainOptions(
    epochs=2,
    groups_per_step=2,
    group_size=4,
    max_length=48,
    lora_rank=4,
    evaluations=4,
    patience=0,
    validation=0.25,
    learning_rate=1e-3,
    distillation_weight=0,
)
PAIRS = [(one.query, text) for one in animals(6) for text in (*one.positives, *one.negatives)]


class Stopped(BaseException):
    """Interruption in the middle of a run."""


def trained(
    base: Path, out: Path, options: TrainOptions = QUICK, *, stop: float = 2.0, general: list[Example] | None = None
) -> tuple[Network, dict[str, Any], list[str]]:
    """Train; end it as soon as a share is done."""
    messages: list[str] = []

    def progress(share: float, losses: Mapping[str, float]) -> None:
        if share >= stop and "eval_loss" not in losses:
            raise Stopped

    training, validation = split(animals(), options.validation)
    run = TrainingRun(files_of(base), out, options, report=messages.append, progress=progress)
    network, figures = run.train(training, validation, general or [])
    return network, figures, messages


def validation_loss(network: Network) -> float:
    """Return the loss of the validation side, computed here."""
    rows = training_groups(split(animals(), QUICK.validation)[1], (), QUICK, 1)
    loss = loss_of("softmax", cross_encoder(network.eval(), "cpu"), 8)
    with torch.inference_mode():
        inputs = [[row["query"] for row in rows], [row["docs"] for row in rows]]
        return float(loss(inputs, [torch.tensor(row["label"]) for row in rows]))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("it asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("kind", ["bert", "late"])
def test_a_run_trains_without_a_network(bert: Path, tmp_path: Path, kind: str, method: str) -> None:
    base = bert if kind == "bert" else late_interaction_model(bert, tmp_path / "base")
    before = open_network(files_of(base), 48)
    network, figures, messages = trained(base, tmp_path / "out", replace(QUICK, method=method, epochs=4))
    looks = [entry["step"] for entry in figures["history"] if "eval_loss" in entry]
    assert looks == [0, 4, 8, 12, 16, 18]
    assert figures["validation_loss"]["before"] == pytest.approx(validation_loss(before), rel=1e-4)
    losses = [entry["loss"] for entry in figures["history"] if "loss" in entry]
    assert len(losses) == 18
    if kind == "late":  # the other has dropout, which hides what 18 steps do
        assert sum(losses[-6:]) < sum(losses[:6])
    assert figures["steps"] == 18
    assert messages == ["Training"]
    assert set(network.state_dict()) == set(before.state_dict())
    assert (logits_of(network, PAIRS) - logits_of(before, PAIRS)).abs().max() > 0.01
    assert (tmp_path / "out" / "curves.svg").is_file()
    assert ("lora" in figures) == (method == "lora")
    if method == "lora":
        assert figures["lora"]["head_unchanged"]
        assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    assert {name for entry in figures["history"] for name in entry} == {"step", "loss", "eval_loss"}


def test_what_validation_shows_is_the_loss_without_dropout_of_the_best_weights(bert: Path, tmp_path: Path) -> None:
    network, figures, _ = trained(bert, tmp_path / "out", replace(QUICK, method="full"))
    best = min(entry["eval_loss"] for entry in figures["history"] if "eval_loss" in entry and entry["step"])
    assert validation_loss(network) == pytest.approx(best, rel=1e-4)
    assert figures["validation_loss"]["after"] == best


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_interrupted_run_ends_as_an_undisturbed_one(bert: Path, tmp_path: Path, method: str) -> None:
    options = replace(QUICK, method=method)
    undisturbed, figures, _ = trained(bert, tmp_path / "whole", options)
    with pytest.raises(Stopped):
        trained(bert, tmp_path / "cut", options, stop=0.7)
    known = sorted(path.name for path in (tmp_path / "cut" / "checkpoints").iterdir())
    resumed, others, messages = trained(bert, tmp_path / "cut", replace(options, precision="fp32", mini_batch_size=8))
    assert messages[0] in {f"Resuming from {name}" for name in known}
    assert others["resumed"]
    np.testing.assert_allclose(logits_of(resumed, PAIRS), logits_of(undisturbed, PAIRS), atol=1e-5)
    losses = [[e["eval_loss"] for e in one["history"] if "eval_loss" in e] for one in (figures, others)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


@pytest.mark.parametrize(("change", "steps"), [({}, 9), ({"patience": 1, "learning_rate": 1e-12, "evaluations": 9}, 2)])
def test_a_run_that_ended_is_not_trained_again(bert: Path, tmp_path: Path, change: dict[str, Any], steps: int) -> None:
    options = replace(QUICK, **change)  # the second rate changes no loss, so that patience ends the run
    first, figures, _ = trained(bert, tmp_path / "out", options)
    assert figures["steps"] == steps
    shutil.move(tmp_path / "out", tmp_path / "moved")
    second, again, messages = trained(bert, tmp_path / "moved", options, stop=0.0)
    assert messages[0].startswith("Resuming")
    assert again["history"] == figures["history"]
    assert torch.equal(logits_of(first, PAIRS), logits_of(second, PAIRS))


def test_the_patience_that_is_left_survives(bert: Path, tmp_path: Path) -> None:
    options = replace(QUICK, patience=3, learning_rate=1e-12, evaluations=9)  # a rate that changes no loss
    _, figures, _ = trained(bert, tmp_path / "whole", options)
    assert figures["steps"] == 4
    with pytest.raises(Stopped):
        trained(bert, tmp_path / "cut", options, stop=3 / 9)
    _, others, _ = trained(bert, tmp_path / "cut", options)
    assert others["resumed"]
    assert others["steps"] == 4


@pytest.mark.parametrize("change", [{"learning_rate": 1e-4}, {"seed": 8}, {"lora_rank": 2}])
def test_another_run_begins_anew(bert: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    trained(bert, tmp_path, replace(QUICK, epochs=1))
    _, figures, messages = trained(bert, tmp_path, replace(QUICK, epochs=1, **change))
    assert messages == ["Training"]
    assert not figures["resumed"]


def test_other_weights_under_the_same_name_begin_anew(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path / "base")
    trained(tmp_path / "base", tmp_path / "out", replace(QUICK, epochs=1))
    path = tmp_path / "base" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(bytes(raw))
    _, figures, _ = trained(tmp_path / "base", tmp_path / "out", replace(QUICK, epochs=1))
    assert not figures["resumed"]


def test_general_examples_are_replayed() -> None:
    general = [Example(f"general {n}", (f"yes {n}",), (f"no {n}",)) for n in range(5)]
    rows = training_groups(animals(), general, replace(QUICK, replay=0.25), 2)
    assert len(rows) == 2 * (12 + 4)
    assert sum(row["query"].startswith("general") for row in rows) == 8
    assert rows == training_groups(animals(), general, replace(QUICK, replay=0.25), 2)
    assert len(training_groups(animals(), general, replace(QUICK, replay=0.0), 1)) == 12
    assert len(training_groups(animals(), [], QUICK, 1)) == 12


def test_checkpoints_hold_what_learns_and_are_two_at_most(bert: Path, tmp_path: Path) -> None:
    trained(bert, tmp_path)
    folders = sorted((tmp_path / "checkpoints").iterdir())
    assert 1 <= len(folders) <= 2
    for folder in folders:
        assert all("lora_" in name for name in load_file(folder / "trained.safetensors"))
        assert json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))["max_steps"] == 9
        assert not (folder / "model.safetensors").exists()


def test_self_distillation_mixes_the_base_models_order_into_the_labels(bert: Path, tmp_path: Path) -> None:
    options = replace(QUICK, distillation_weight=0.4)
    rows = training_groups(animals(3), (), options, 1)
    distilled = with_distillation(rows, base_scorer(str(bert), options, "none"), 0.4)
    base_network = open_network(files_of(bert), options.max_length)
    for row, mixed in zip(rows, distilled, strict=True):
        base = logits_of(base_network, [(row["query"], text) for text in row["docs"]]).softmax(0)
        wanted = 0.4 * base + 0.6 * torch.tensor(row["label"]).softmax(0)
        torch.testing.assert_close(torch.tensor(mixed["label"]).exp(), wanted, atol=1e-4, rtol=1e-3)
        assert (mixed["query"], mixed["docs"]) == (row["query"], row["docs"])
    network, _, messages = trained(bert, tmp_path / "run", options)
    assert "Scoring the groups with the base model, for self-distillation" in messages
    assert logits_of(network, PAIRS).isfinite().all()
