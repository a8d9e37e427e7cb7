"""Packed network of GTE.

The last layer computes query, output and feed-forward only for the first token of each sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rerankd.models.families.gte import GteArchitecture
from rerankd.models.rotary import rotary_tables
from rerankd.scoring.torch.batch import DeviceWeights, PackedBatch, attend

_Linear = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class _Layer:
    projection: _Linear
    output: _Linear
    output_norm: _Linear
    up_gate: Tensor
    feed_forward: _Linear
    feed_forward_norm: _Linear


class GteNetwork:
    """Network of a GTE cross-encoder.

    Args:
        architecture: its shape.
        weights: its weights.
    """

    def __init__(self, architecture: GteArchitecture, weights: DeviceWeights) -> None:
        self._architecture, self._weights = architecture, weights
        self._words = weights("new.embeddings.word_embeddings.weight")
        if architecture.segment_types:
            self._words += weights("new.embeddings.token_type_embeddings.weight")[0]
        self._norm = weights.linear("new.embeddings.LayerNorm")
        self._layers = [self._load_layer(n) for n in range(architecture.layers)]
        width = architecture.hidden // architecture.heads
        tables = rotary_tables(width, architecture.rotary_theta, architecture.positions, architecture.rotary_divisor)
        self._cosines, self._sines = (torch.from_numpy(table).to(weights.device, weights.dtype) for table in tables)
        self._head = [tuple(t.float() for t in weights.linear(name)) for name in architecture.head_prefixes]

    def logits(self, batch: PackedBatch) -> Tensor:
        """Return the logits of the sequences, shape (sequences,), float32."""
        hidden = self._normalise(self._words[batch.ids], self._norm)
        turns = self._cosines[batch.positions], self._sines[batch.positions]
        for layer in self._layers[:-1]:
            hidden = self._run(layer, hidden, batch, turns, last=False)
        first = self._run(self._layers[-1], hidden, batch, turns, last=True).float()
        (dense, dense_bias), (out, out_bias) = self._head
        return functional.linear(torch.tanh(functional.linear(first, dense, dense_bias)), out, out_bias).squeeze(-1)

    def _normalise(self, hidden: Tensor, norm: _Linear) -> Tensor:
        return functional.layer_norm(hidden, (self._architecture.hidden,), *norm, self._architecture.layer_norm_eps)

    def _load_layer(self, n: int) -> _Layer:
        weights, prefix = self._weights, f"new.encoder.layer.{n}"
        parts = [weights.linear(f"{prefix}.attention.{part}_proj") for part in "qkv"]
        return _Layer(
            (torch.cat([w for w, _ in parts]), torch.cat([b for _, b in parts])),
            weights.linear(f"{prefix}.attention.o_proj"),
            weights.linear(f"{prefix}.attn_ln"),
            torch.cat([weights(f"{prefix}.mlp.{part}_proj.weight") for part in ("up", "gate")]),
            weights.linear(f"{prefix}.mlp.down_proj"),
            weights.linear(f"{prefix}.mlp_ln"),
        )

    def _run(
        self, layer: _Layer, hidden: Tensor, batch: PackedBatch, turns: tuple[Tensor, Tensor], *, last: bool
    ) -> Tensor:
        heads, (weight, bias), size = self._architecture.heads, layer.projection, self._architecture.hidden
        kept = hidden
        if last:
            kept = hidden[batch.starts[:-1].long()]
            query = functional.linear(kept, weight[:size], bias[:size])  # position 0 is not turned
            key, value = functional.linear(hidden, weight[size:], bias[size:]).chunk(2, dim=-1)
        else:
            query, key, value = functional.linear(hidden, weight, bias).chunk(3, dim=-1)
            query = rotate(query, *turns, heads=heads)
        context = attend(query, rotate(key, *turns, heads=heads), value, batch, heads=heads, last=last)
        mixed = self._normalise(functional.linear(context, *layer.output) + kept, layer.output_norm)
        up, gate = functional.linear(mixed, layer.up_gate).chunk(2, dim=-1)
        fed = functional.linear(functional.gelu(gate) * up, *layer.feed_forward)
        return self._normalise(fed + mixed, layer.feed_forward_norm)


def rotate(states: Tensor, cosines: Tensor, sines: Tensor, *, heads: int) -> Tensor:
    """Turn the two halves of each head's numbers by the angles of their positions.

    Args:
        states: queries or keys, shape (tokens, width).
        cosines: of the angles, shape (tokens, width / heads / 2).
        sines: of the angles, in the same shape.
        heads: attention heads.

    Returns:
        Shape of `states`.
    """
    first, second = states.view(len(states), heads, 2, -1).unbind(2)
    cosines, sines = cosines[:, None], sines[:, None]
    turned = torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)
    return turned.view(len(states), -1)
