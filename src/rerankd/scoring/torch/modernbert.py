"""Packed network of ModernBERT.

Where the head reads the first token only, the last layer computes query, output and feed-forward for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rerankd.models.families.modernbert import ModernBertArchitecture
from rerankd.scoring.torch.batch import DeviceWeights, PackedBatch, attend

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "tanh": torch.tanh,
}
Angles = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class _Layer:
    attention_norm: Tensor | None  # the first layer has none
    projection: Tensor
    output: Tensor
    norm: Tensor
    gated: Tensor
    feed_forward: Tensor


class ModernBertNetwork:
    """Network of a ModernBERT cross-encoder.

    Args:
        architecture: its shape.
        weights: its weights.
    """

    def __init__(self, architecture: ModernBertArchitecture, weights: DeviceWeights) -> None:
        self._architecture, self._weights = architecture, weights
        self._embeddings = weights("model.embeddings.tok_embeddings.weight")
        self._embeddings_norm = weights("model.embeddings.norm.weight")
        self._layers = [self._load_layer(n) for n in range(architecture.layers)]
        self._final_norm = weights("model.final_norm.weight")
        self._dense = self._head_layer("head.dense", bias=architecture.head_bias)
        self._head_norm = self._head_layer("head.norm", bias=architecture.head_norm_bias)
        self._classifier = self._head_layer("classifier", bias=True)
        bases = {"g": architecture.global_base, "l": architecture.local_base}
        self._frequencies = {kind: self._inverse_frequencies(base) for kind, base in bases.items()}

    def logits(self, batch: PackedBatch) -> Tensor:
        """Return the logits of the sequences, shape (sequences,), float32."""
        angles = {kind: self._angles(kind, batch.positions) for kind in set(self._architecture.attention)}
        hidden = self._normalise(self._embeddings[batch.ids], self._embeddings_norm)
        first_only = self._architecture.pooling == "cls"
        for number, (kind, layer) in enumerate(zip(self._architecture.attention, self._layers, strict=True)):
            last = first_only and number == self._architecture.layers - 1
            hidden = self._run(layer, hidden, batch, kind, angles[kind], last=last)
        states = self._normalise(hidden, self._final_norm).float()
        if not first_only:
            states = torch.stack([part.mean(dim=0) for part in states.split_with_sizes(batch.lengths)])
        return self._score(states)

    def _score(self, pooled: Tensor) -> Tensor:
        inner = _ACTIVATIONS[self._architecture.head_activation](functional.linear(pooled, *self._dense))
        size, epsilon = (self._architecture.hidden,), self._architecture.head_norm_eps
        return functional.linear(functional.layer_norm(inner, size, *self._head_norm, epsilon), *self._classifier)[:, 0]

    def _normalise(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return functional.layer_norm(hidden, (self._architecture.hidden,), weight, None, self._architecture.norm_eps)

    def _head_layer(self, name: str, *, bias: bool) -> tuple[Tensor, Tensor | None]:
        return self._weights(f"{name}.weight").float(), self._weights(f"{name}.bias").float() if bias else None

    def _load_layer(self, n: int) -> _Layer:
        weights, prefix = self._weights, f"model.layers.{n}"
        return _Layer(
            weights(f"{prefix}.attn_norm.weight") if n else None,
            torch.cat([weights(f"{prefix}.attn.{part}.weight") for part in ("query", "key", "value")]),
            weights(f"{prefix}.attn.Wo.weight"),
            weights(f"{prefix}.mlp_norm.weight"),
            weights(f"{prefix}.mlp.Wi.weight"),
            weights(f"{prefix}.mlp.Wo.weight"),
        )

    def _inverse_frequencies(self, base: float) -> Tensor:
        width = self._architecture.hidden // self._architecture.heads
        exponents = torch.arange(0, width, 2, dtype=torch.float32) / width
        return (1.0 / base**exponents).to(self._weights.device)

    def _angles(self, kind: str, positions: Tensor) -> Angles:
        """Return cosine and sine for each token and pair of numbers, shape (tokens, 1, width of a head / 2)."""
        angles = (positions.float()[:, None] * self._frequencies[kind])[:, None]
        return angles.cos().to(self._weights.dtype), angles.sin().to(self._weights.dtype)

    def _rotate(self, states: Tensor, angles: Angles) -> Tensor:
        """Rotate (tokens, n * hidden) by the positions, head by head, in float32."""
        cosine, sine = angles
        width = self._architecture.hidden // self._architecture.heads
        first, second = states.view(len(states), -1, width).float().chunk(2, dim=-1)
        rotated = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
        return rotated.to(states.dtype).view(len(states), -1)

    def _run(
        self, layer: _Layer, hidden: Tensor, batch: PackedBatch, kind: str, angles: Angles, *, last: bool
    ) -> Tensor:
        size = self._architecture.hidden
        normal = hidden if layer.attention_norm is None else self._normalise(hidden, layer.attention_norm)
        if last:
            starts = batch.starts[:-1].long()
            query = functional.linear(normal[starts], layer.projection[:size])  # at position 0: nothing to rotate
            key, value = functional.linear(normal, layer.projection[size:]).chunk(2, dim=-1)
            key, hidden = self._rotate(key, angles), hidden[starts]
        else:
            projected = functional.linear(normal, layer.projection)
            query, key = self._rotate(projected[:, : 2 * size], angles).chunk(2, dim=-1)
            value = projected[:, 2 * size :]
        window = self._architecture.window if kind == "l" else None
        context = attend(query, key, value, batch, heads=self._architecture.heads, last=last, window=window)
        hidden = hidden + functional.linear(context, layer.output)
        inner, gate = functional.linear(self._normalise(hidden, layer.norm), layer.gated).chunk(2, dim=-1)
        return hidden + functional.linear(functional.gelu(inner) * gate, layer.feed_forward)
