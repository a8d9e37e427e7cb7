from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerankd import Reranker
from rerankd.compiler.compile import MIN_KENDALL_TAU
from rerankd.compiler.graph import INT8_LIMIT
from rerankd.training.export import verification_pairs, write_candidate
from rerankd.training.gptq import gptq_quantize, gptq_quantize_ranker, gptq_round, outlier_layers
from rerankd.training.late_interaction import LateInteractionRanker
from rerankd.training.network import Network, logits_of, open_network
from rerankd.training.weights import read_weights
from tests.unit.training.material import files_of, late_interaction_model

pytestmark = pytest.mark.slow


def nearest(weight: torch.Tensor) -> torch.Tensor:
    """Return a matrix after the rounding of the graph."""
    scale = (weight.abs().amax(1, keepdim=True) / INT8_LIMIT).clamp(min=1e-12)
    return (weight / scale).round() * scale


def inputs(draw: torch.Generator, tokens: int, width: int) -> torch.Tensor:
    """Tokens whose features go together, as those of texts do."""
    return torch.randn(tokens, width // 8, generator=draw) @ torch.randn(width // 8, width, generator=draw)


@given(seed=st.integers(0, 1000), outputs=st.integers(1, 6), width=st.integers(2, 24))
def test_rounded_weights_are_what_the_graph_keeps(seed: int, outputs: int, width: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    weight, seen = torch.randn(outputs, width, generator=draw), torch.randn(50, width, generator=draw)
    rounded = gptq_round(weight, seen.T @ seen)
    torch.testing.assert_close(nearest(rounded), rounded)
    torch.testing.assert_close(rounded.abs().amax(1), weight.abs().amax(1))


def test_weights_on_the_grid_stay() -> None:
    draw = torch.Generator().manual_seed(1)
    weight, seen = nearest(torch.randn(30, 64, generator=draw)), inputs(draw, 500, 64)
    torch.testing.assert_close(gptq_round(weight, seen.T @ seen), weight)


def test_products_are_nearer_than_with_each_weight_to_its_nearest() -> None:
    draw = torch.Generator().manual_seed(2)
    weight, seen, others = torch.randn(40, 160, generator=draw), inputs(draw, 600, 160), inputs(draw, 1, 160)
    exact = seen @ weight.T
    errors = [(seen @ one.T - exact).square().mean() for one in (gptq_round(weight, seen.T @ seen), nearest(weight))]
    assert errors[0] < 0.2 * errors[1]
    assert (gptq_round(weight, seen.T @ seen) @ others.T).isfinite().all()


def test_a_change_below_half_a_step_survives() -> None:
    draw = torch.Generator().manual_seed(3)
    base, seen = nearest(torch.randn(40, 160, generator=draw)), inputs(draw, 600, 160)
    step = base.abs().amax(1, keepdim=True) / INT8_LIMIT
    change = torch.randn(40, 2, generator=draw) @ torch.randn(2, 160, generator=draw)
    change *= 0.4 * step / change.abs().amax(1, keepdim=True)
    change[base.abs() == base.abs().amax(1, keepdim=True)] = 0  # the grid stays
    assert torch.allclose(nearest(base + change), base), "rounding to the nearest loses it"
    wanted = seen @ change.T
    got = seen @ (gptq_round(base + change, seen.T @ seen) - base).T
    assert (got - wanted).square().mean() < 0.3 * wanted.square().mean()


@pytest.fixture
def late(bert: Path, tmp_path: Path) -> Path:
    return late_interaction_model(bert, tmp_path / "late")


def ranker_of(network: Network) -> LateInteractionRanker:
    """Return the torch model."""
    assert isinstance(network.model, LateInteractionRanker)
    return network.model


def test_a_network_keeps_its_own_weights(late: Path) -> None:
    network = open_network(files_of(late), 40)
    ranker, pairs = ranker_of(network), verification_pairs([], 8)
    before = {name: value.clone() for name, value in ranker.state_dict().items()}
    quantized = gptq_quantize_ranker(ranker, lambda: logits_of(network, pairs))
    layers = ranker.encoder.bert.config.num_hidden_layers
    assert len(quantized) == 6 * layers
    for name, weight in quantized.items():
        assert weight.shape == before[name].shape
    for name, value in ranker.state_dict().items():
        assert torch.equal(value, before[name])
    assert ranker.encoder.watch is None


def test_layers_with_outlying_ends_are_found(late: Path) -> None:
    network = open_network(files_of(late), 40)
    ranker, pairs = ranker_of(network), verification_pairs([], 4)
    assert outlier_layers(ranker, lambda: logits_of(network, pairs)) == frozenset()
    # [CLS] and [SEP] alone light up the first unit of the first feed-forward layer.
    layer: Any = ranker.encoder.bert.encoder.layer[0]
    content_masks: list[torch.Tensor] = []

    def light(module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        content_masks.append(ranker.encoder.content_mask)
        return torch.where(ranker.encoder.content_mask[..., None], output, 50 * output)

    handle = layer.attention.output.LayerNorm.register_forward_hook(light)
    layers = outlier_layers(ranker, lambda: logits_of(network, pairs))
    handle.remove()
    assert content_masks
    assert "bert.encoder.layer.0.intermediate.dense" in layers


def test_a_cross_encoder_keeps_its_own_weights(checkpoint: Path) -> None:
    network, pairs = open_network(files_of(checkpoint), 40), verification_pairs([], 8)
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    layers = gptq_quantize(network.model, network.adapted_layers, lambda: logits_of(network, pairs))
    assert len(layers) == 6 * 3
    for name, weight in layers.items():
        torch.testing.assert_close(nearest(torch.from_numpy(weight)), torch.from_numpy(weight))
        assert not np.array_equal(weight, before[name].numpy())
    for name, value in network.model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(module._forward_pre_hooks for module in network.model.modules())


@pytest.mark.slow
def test_a_cross_encoder_is_compiled_with_the_weights_that_texts_ask_for(
    compiled: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MIN_KENDALL_TAU, "int8", 0.3)  # activations of random weights round badly
    files, texts = files_of(compiled["int8"]), verification_pairs([], 48)
    network = open_network(files, 40)
    draw = torch.Generator().manual_seed(5)
    for name, module in network.model.named_modules():
        if re.fullmatch(network.adapted_layers, name):
            weight: Any = module.weight
            weight.data += 0.1 * weight.data.abs().amax() / INT8_LIMIT * torch.randn(weight.shape, generator=draw)
    wanted = gptq_quantize(network.model, network.adapted_layers, lambda: logits_of(network, texts))
    moved = {name: nearest(value) for name, value in network.model.state_dict().items() if name in wanted}
    weights = read_weights(
        files_of(
            write_candidate(
                network,
                files,
                tmp_path / "run",
                precision="int8",
                name="zoo",
                report=lambda sentence: None,
                gptq_pairs=texts,
            )
        )
    )
    for name, value in wanted.items():
        np.testing.assert_allclose(weights[name], value, atol=1e-6, err_msg=name)
        assert not np.allclose(weights[name], moved[name].numpy(), atol=1e-6), name


def test_an_int8_candidate_rounded_by_texts_ranks_as_the_network(
    late: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MIN_KENDALL_TAU, "int8", 0.5)  # the words of the fixture differ from run to run
    files = files_of(late)
    network = open_network(files, 40)
    texts = verification_pairs([], 16)
    model = write_candidate(
        network, files, tmp_path / "run", precision="int8", name="zoo", report=lambda sentence: None, gptq_pairs=texts
    )
    served = Reranker(str(model), device="cpu", max_length=40).score(texts, activation="none")
    exact = logits_of(network, texts).numpy()
    assert np.corrcoef(served, exact)[0, 1] > 0.95
