from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from rerankd.errors import VerificationError
from rerankd.training import adapters
from rerankd.training.adapters import add_adapters, merge_adapters, save_adapters
from rerankd.training.export import verification_pairs
from rerankd.training.network import Network, logits_of, open_network
from tests.unit.training.material import files_of, late_interaction_model

pytestmark = pytest.mark.slow

PER_LAYER = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)


@pytest.fixture(scope="module", params=["xlmr", "bert", "late"])
def model(request: pytest.FixtureRequest, bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "late":
        return late_interaction_model(bert, tmp_path_factory.mktemp("late") / "model")
    folder: Path = request.getfixturevalue(request.param)
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("it asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def disturbed(network: Network) -> None:
    """Adapters as after training: they begin with zeros."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "lora_" in name:
                value.copy_(torch.randn_like(value) * 0.05)


def test_adapters_are_on_the_encoders_linear_layers_and_nothing_else(model: Path) -> None:
    network = open_network(files_of(model), 64)
    layers = files_of(model).manifest.architecture.layers
    count = add_adapters(network, rank=4, alpha=8, seed=1)
    names = sorted(
        name.rpartition("encoder.layer.")[2].removesuffix(".lora_A.default")
        for name, _ in network.named_modules()
        if name.endswith(".lora_A.default")
    )
    assert names == sorted(f"{layer}.{part}" for layer in range(layers) for part in PER_LAYER)
    learning = {name: value for name, value in network.named_parameters() if value.requires_grad}
    assert all(".lora_" in name for name in learning)
    assert count == sum(value.numel() for value in learning.values())


def test_adapters_begin_as_nothing_and_alike(bert: Path) -> None:
    pairs = verification_pairs([], 8)
    networks = [open_network(files_of(bert), 64) for _ in range(3)]
    for network in networks[1:]:
        add_adapters(network, rank=4, alpha=8, seed=1)
    first, second, third = (logits_of(network, pairs) for network in networks)
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)
    assert torch.equal(second, third)
    for one, other in zip(networks[1].parameters(), networks[2].parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_the_merged_model_is_its_adapter(model: Path, tmp_path: Path) -> None:
    base = open_network(files_of(model), 64)
    network = open_network(files_of(model), 64)
    add_adapters(network, rank=4, alpha=8, seed=1)
    disturbed(network)
    save_adapters(network, tmp_path / "adapter")
    with_adapter = logits_of(network, verification_pairs([]))
    parity = merge_adapters(network, verification_pairs([]))
    assert parity.passed
    assert parity.pairs >= 30
    assert parity.largest < 1e-3
    assert not isinstance(network.model, PeftModel)
    torch.testing.assert_close(logits_of(network, verification_pairs([])), with_adapter, atol=1e-3, rtol=0)
    assert (
        with_adapter - logits_of(base, verification_pairs([]))
    ).abs().max() > 1e-4  # the tokenizer, and so what it says, differs from run to run
    before, after = base.model.state_dict(), network.model.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {
        name for name in before if ".layer." in name and name.removesuffix(".weight").endswith(PER_LAYER)
    }
    # peft itself reads the adapter back.
    again = open_network(files_of(model), 64)
    again.model = PeftModel.from_pretrained(again.model, str(tmp_path / "adapter"))
    torch.testing.assert_close(logits_of(again, verification_pairs([])), with_adapter, atol=1e-5, rtol=1e-5)


def test_what_is_written_is_the_adapter_alone(model: Path, tmp_path: Path) -> None:
    network = open_network(files_of(model), 64)
    add_adapters(network, rank=4, alpha=8, seed=1)
    save_adapters(network, tmp_path)
    assert all("lora_" in name for name in load_file(tmp_path / "adapter_model.safetensors"))
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"]) == (4, 8)


def test_a_merge_that_changes_something_else_is_refused(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = open_network(files_of(bert), 64)
    add_adapters(network, rank=4, alpha=8, seed=1)
    original = network.model.base_model.merge_and_unload  # type: ignore[union-attr]

    def spoiled() -> Any:
        model = original()  # type: ignore[operator]
        with torch.no_grad():
            model.classifier.bias += 1e-5
        return model

    monkeypatch.setattr(network.model.base_model, "merge_and_unload", spoiled)
    with pytest.raises(VerificationError, match="changed weights outside"):
        merge_adapters(network, verification_pairs([], 4))
    assert adapters.MAX_DELTA == 1e-3
