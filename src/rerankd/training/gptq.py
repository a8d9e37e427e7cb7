"""int8 quantization of trained weights with GPTQ (Frantar et al. 2022), and detection of outlier layers.

Rounding each weight to the nearest step loses what fine-tuning changed, because most changes are smaller than half a
step. GPTQ compensates each rounding error in the weights that are rounded later, as far as they have correlated inputs,
so a change that affects all tokens of the domain survives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from rerankd.compiler.graph import INT8_LIMIT
from rerankd.training.late_interaction import LateInteractionRanker

DAMPING = 0.01  # added to the diagonal of the Hessian, relative to its mean
BLOCK_COLUMNS = 128
FEED_FORWARD_LAYERS = (".intermediate.dense", ".output.dense")
OUTLIER_RATIO = 2.0


def gptq_quantize_ranker(ranker: LateInteractionRanker, run: Callable[[], object]) -> dict[str, np.ndarray]:
    """Quantize the linear layers of a late-interaction network; the network itself is not changed.

    Args:
        ranker: network without adapters.
        run: scores texts of the domain, about ten thousand tokens.

    Returns:
        Quantized weights by name, as the int8 file stores them.
    """
    names = {module: f"{name}.weight" for name, module in ranker.named_modules()}
    hessians = _Hessians()
    _observe(ranker, run, lambda layer, value: hessians.add(layer, value[ranker.encoder.token_mask]))
    return {names[layer]: weight for layer, weight in hessians.quantize()}


def gptq_quantize(model: torch.nn.Module, layers: str, run: Callable[[], object]) -> dict[str, np.ndarray]:
    """Quantize linear layers of a transformers model that is called with `attention_mask` as a keyword argument.

    Args:
        model: network without adapters.
        layers: pattern of the names of the linear layers.
        run: scores texts of the domain.

    Returns:
        Quantized weights by name.
    """
    names: dict[Any, str] = {module: name for name, module in model.named_modules() if re.fullmatch(layers, name)}
    hessians, mask = _Hessians(), list[torch.Tensor]()

    def keep_mask(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        mask[:] = [kwargs["attention_mask"].bool()]

    def add_input(layer: Any, args: tuple[torch.Tensor, ...]) -> None:
        if args[0].shape[:2] == mask[0].shape:  # DeBERTa's layers also project positions
            hessians.add(layer, args[0][mask[0]])

    handles = [model.register_forward_pre_hook(keep_mask, with_kwargs=True)]
    handles += [layer.register_forward_pre_hook(add_input) for layer in names]
    try:
        with torch.inference_mode():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return {f"{names[layer]}.weight": weight for layer, weight in hessians.quantize()}


class _Hessians:
    """Sums of outer products of the inputs per linear layer, normalized so that no token dominates."""

    def __init__(self) -> None:
        self._sums: dict[torch.nn.Linear, torch.Tensor] = {}

    def add(self, layer: torch.nn.Linear, tokens: torch.Tensor) -> None:
        rows = torch.nn.functional.normalize(tokens, dim=-1)
        products = rows.T @ rows
        self._sums[layer] = self._sums[layer] + products if layer in self._sums else products

    def quantize(self) -> Iterator[tuple[torch.nn.Linear, np.ndarray]]:
        """Yield each layer with its quantized weights."""
        for layer, hessian in self._sums.items():
            yield layer, gptq_round(layer.weight.data, hessian).numpy()


def outlier_layers(ranker: LateInteractionRanker, run: Callable[[], object]) -> frozenset[str]:
    """Find feed-forward and output layers whose input at [CLS] and [SEP] is much larger than elsewhere.

    Args:
        ranker: network without adapters.
        run: scores some texts.

    Returns:
        Names of the layers.
    """
    names = {module: name for name, module in ranker.named_modules() if name.endswith(FEED_FORWARD_LAYERS)}
    largest: dict[str, tuple[float, float]] = {}

    def observe(layer: torch.nn.Linear, value: torch.Tensor) -> None:
        if name := names.get(layer):
            magnitude, content = value.abs().amax(-1), ranker.encoder.content_mask
            special = float((magnitude * (ranker.encoder.token_mask & ~content)).max())
            special_before, content_before = largest.get(name, (0.0, 0.0))
            largest[name] = max(special_before, special), max(content_before, float((magnitude * content).max()))

    _observe(ranker, run, observe)
    return frozenset(
        name.removeprefix("encoder.")
        for name, (special, content) in largest.items()
        if special > OUTLIER_RATIO * content
    )


def _observe(
    ranker: LateInteractionRanker, run: Callable[[], object], observe: Callable[[torch.nn.Linear, torch.Tensor], None]
) -> None:
    """Run the network and call `observe` with each linear layer and its input."""
    ranker.encoder.watch = observe
    try:
        with torch.inference_mode():
            run()
    finally:
        ranker.encoder.watch = None


def gptq_round(weight: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Round a matrix to `INT8_LIMIT` steps in each direction, with one scale per output.

    Args:
        weight: matrix of shape (outputs, inputs).
        hessian: sum of the outer products of the inputs, shape (inputs, inputs).

    Returns:
        The rounded matrix. The largest weight of an output keeps its value, so the scales stay the same.
    """
    scale = (weight.abs().amax(1, keepdim=True) / INT8_LIMIT).clamp(min=1e-12)
    largest_column = weight.abs().argmax(1)
    order = hessian.diagonal().argsort(descending=True)
    remaining = (weight / scale)[:, order].double()
    inverse_order = order.argsort()
    largest_column = inverse_order[largest_column]
    sorted_hessian = hessian.double()[order][:, order]
    damping = (DAMPING * sorted_hessian.diagonal().mean()).clamp(min=1e-12)
    sorted_hessian = sorted_hessian + torch.eye(len(sorted_hessian), dtype=torch.float64) * damping
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(sorted_hessian)), upper=True)
    result = torch.empty_like(remaining)
    columns = remaining.shape[1]
    for start in range(0, columns, BLOCK_COLUMNS):
        end = min(start + BLOCK_COLUMNS, columns)
        errors = torch.empty(len(remaining), end - start, dtype=torch.float64)
        for column in range(start, end):
            value = remaining[:, column]
            nearest = value.round().clamp(-INT8_LIMIT, INT8_LIMIT)
            top = largest_column == column
            nearest[top] = (INT8_LIMIT * weight[top, order[column]].sign()).double()
            result[:, column] = nearest
            error = (value - nearest) / inverse[column, column]
            errors[:, column - start] = error
            remaining[:, column + 1 : end] -= error[:, None] * inverse[column, column + 1 : end]
        remaining[:, end:] -= errors @ inverse[start:end, end:]
    return (result[:, inverse_order].float() * scale).to(weight.dtype)
