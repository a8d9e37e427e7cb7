"""What the int8 file of a network needs: outlying layers, and weights rounded with their inputs in view.

Weights are rounded so that products come out right (GPTQ, Frantar et al. 2022).
Rounding each weight to the nearest step loses what fine-tuning changed, because most changes are smaller than half a
step. Here the error that one weight makes is taken up by those that are rounded after it, as far as they see the same
inputs: a change that all tokens of the domain feel survives, though no single weight shows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from rerankd.compiler.graph import INT8_LIMIT
from rerankd.training.late_interaction import Ranker

DAMPING = 0.01  # of the mean curvature, on its diagonal
BLOCK = 128
OUTPUTS = (".intermediate.dense", ".output.dense")
OUTLYING = 2.0


def rounded_weights(ranker: Ranker, run: Callable[[], object]) -> dict[str, np.ndarray]:
    """The weights of a network's linear layers as its int8 file holds them, by name; the network keeps its own.

    Args:
        ranker: the network, without adapters.
        run: scores texts of the domain, some ten thousand tokens of them.
    """
    names = {module: f"{name}.weight" for name, module in ranker.named_modules()}
    seen = _Inputs()
    _watched(ranker, run, lambda layer, value: seen.add(layer, value[ranker.encoder.there]))
    return {names[layer]: weight for layer, weight in seen.rounded()}


def rounded_layers(model: torch.nn.Module, layers: str, run: Callable[[], object]) -> dict[str, np.ndarray]:
    """As `rounded_weights`, for a transformers model, which is called with its `attention_mask` by name.

    Args:
        model: the network, without adapters.
        layers: pattern of the names of its linear layers.
        run: scores texts of the domain.
    """
    names: dict[Any, str] = {one: name for name, one in model.named_modules() if re.fullmatch(layers, name)}
    seen, there = _Inputs(), list[torch.Tensor]()

    def begin(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        there[:] = [kwargs["attention_mask"].bool()]

    def watch(layer: Any, args: tuple[torch.Tensor, ...]) -> None:
        seen.add(layer, args[0][there[0]])

    handles = [model.register_forward_pre_hook(begin, with_kwargs=True)]
    handles += [layer.register_forward_pre_hook(watch) for layer in names]
    try:
        with torch.inference_mode():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return {f"{names[layer]}.weight": weight for layer, weight in seen.rounded()}


class _Inputs:
    """Sums of the outer products of what linear layers were given; an outlying token counts as one."""

    def __init__(self) -> None:
        self._sums: dict[torch.nn.Linear, torch.Tensor] = {}

    def add(self, layer: torch.nn.Linear, tokens: torch.Tensor) -> None:
        rows = torch.nn.functional.normalize(tokens, dim=-1)
        found = rows.T @ rows
        self._sums[layer] = self._sums[layer] + found if layer in self._sums else found

    def rounded(self) -> Iterator[tuple[torch.nn.Linear, np.ndarray]]:
        """Each layer with its weights rounded."""
        for layer, inputs in self._sums.items():
            yield layer, rounded(layer.weight.data, inputs).numpy()


def outlying(ranker: Ranker, run: Callable[[], object]) -> frozenset[str]:
    """Names of feed-forward and output layers whose input at [CLS] and [SEP] is many times as large as elsewhere.

    Args:
        ranker: the network, without adapters.
        run: scores some texts.
    """
    names = {module: name for name, module in ranker.named_modules() if name.endswith(OUTPUTS)}
    largest: dict[str, tuple[float, float]] = {}

    def watch(layer: torch.nn.Linear, value: torch.Tensor) -> None:
        if name := names.get(layer):
            sizes, own = value.abs().amax(-1), ranker.encoder.own
            now = (float((sizes * part).max()) for part in (ranker.encoder.there & ~own, own))
            before = largest.get(name, (0.0, 0.0))
            largest[name] = tuple(map(max, before, now))  # type: ignore[assignment]  # of two

    _watched(ranker, run, watch)
    return frozenset(name.removeprefix("encoder.") for name, (ends, own) in largest.items() if ends > OUTLYING * own)


def _watched(ranker: Ranker, run: Callable[[], object], watch: Callable[[torch.nn.Linear, torch.Tensor], None]) -> None:
    ranker.encoder.watch = watch
    try:
        with torch.inference_mode():
            run()
    finally:
        ranker.encoder.watch = None


def rounded(weight: torch.Tensor, curvature: torch.Tensor) -> torch.Tensor:
    """A matrix rounded to `INT8_LIMIT` steps either way, one scale for each output.

    Args:
        weight: shape (outputs, inputs).
        curvature: sum of the outer products of the inputs, shape (inputs, inputs).

    Returns:
        The matrix, on the grid; the largest weight of an output keeps its value, and so the grid stays the same.
    """
    scale = (weight.abs().amax(1, keepdim=True) / INT8_LIMIT).clamp(min=1e-12)
    widest = weight.abs().argmax(1)
    order = curvature.diagonal().argsort(descending=True)
    left = (weight / scale)[:, order].double()
    back = order.argsort()
    widest = back[widest]
    curve = curvature.double()[order][:, order]
    curve = curve + torch.eye(len(curve), dtype=torch.float64) * (DAMPING * curve.diagonal().mean()).clamp(min=1e-12)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(curve)), upper=True)
    result = torch.empty_like(left)
    columns = left.shape[1]
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        errors = torch.empty(len(left), end - start, dtype=torch.float64)
        for column in range(start, end):
            value = left[:, column]
            nearest = value.round().clamp(-INT8_LIMIT, INT8_LIMIT)
            top = widest == column
            nearest[top] = (INT8_LIMIT * weight[top, order[column]].sign()).double()
            result[:, column] = nearest
            error = (value - nearest) / inverse[column, column]
            errors[:, column - start] = error
            left[:, column + 1 : end] -= error[:, None] * inverse[column, column + 1 : end]
        left[:, end:] -= errors @ inverse[start:end, end:]
    return (result[:, back].float() * scale).to(weight.dtype)
