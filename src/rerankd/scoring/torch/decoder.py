"""Packed network of Qwen3 and Qwen2 rerankers.

The tokens with which all sequences of a batch begin (the prompt, and the query of a request) are computed once. The
last layer computes query, output and feed-forward only for the last token of each sequence, because the answer is read
behind it, and of the output table only the rows of the answers are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rerankd.models.families.decoder import DecoderArchitecture
from rerankd.scoring.torch.batch import DeviceWeights, PackedBatch
from rerankd.scoring.torch.causal import CausalBatch, attend_causally, causal_batch

Rotation = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: Tensor
    projection: tuple[Tensor, Tensor | None]
    query_norm: Tensor | None
    key_norm: Tensor | None
    output: tuple[Tensor, Tensor | None]
    feed_forward_norm: Tensor
    gate_and_up: Tensor
    down: Tensor


class DecoderNetwork:
    """Network of a causal reranker.

    Args:
        architecture: its shape.
        weights: its weights.
    """

    def __init__(self, architecture: DecoderArchitecture, weights: DeviceWeights) -> None:
        self._architecture, self._weights = architecture, weights
        self._words = weights("model.embed_tokens.weight")
        self._layers = [self._load_layer(n) for n in range(architecture.layers)]
        self._norm = weights("model.norm.weight")
        self._answers = torch.cat([weights(name).float() for name in architecture.answers])
        exponents = torch.arange(0, architecture.head_width, 2, device=weights.device).float() / architecture.head_width
        self._frequencies = 1.0 / architecture.rope_base**exponents

    def logits(self, batch: PackedBatch) -> Tensor:
        """Return the logits of the sequences, shape (sequences,), float32."""
        computed = causal_batch(batch)
        rotation = self._rotation(computed.positions)
        hidden = self._words[computed.ids]
        for layer in self._layers[:-1]:
            hidden = self._run(layer, hidden, computed, rotation, last=False)
        hidden = self._run(self._layers[-1], hidden, computed, rotation, last=True)
        answers = functional.linear(self._normalise(hidden, self._norm).float(), self._answers)
        return answers[:, 0] - answers[:, 1] if answers.shape[1] > 1 else answers[:, 0]

    def _rotation(self, positions: Tensor) -> Rotation:
        """Return cosine and sine of the angles of each position, shape (tokens, 1, head width / 2)."""
        angles = (positions[:, None].float() * self._frequencies)[:, None]
        return angles.cos().to(self._weights.dtype), angles.sin().to(self._weights.dtype)

    def _normalise(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(hidden, weight.shape, weight, self._architecture.norm_eps)

    def _load_layer(self, n: int) -> _Layer:
        architecture, weights, prefix = self._architecture, self._weights, f"model.layers.{n}"
        attention = f"{prefix}.self_attn"
        parts = [f"{attention}.{part}_proj" for part in ("q", "k", "v")]
        bias = torch.cat([weights(f"{part}.bias") for part in parts]) if architecture.projection_bias else None
        norms = [weights(f"{attention}.{n}_norm.weight") if architecture.query_key_norm else None for n in ("q", "k")]
        return _Layer(
            norm=weights(f"{prefix}.input_layernorm.weight"),
            projection=(torch.cat([weights(f"{part}.weight") for part in parts]), bias),
            query_norm=norms[0],
            key_norm=norms[1],
            output=(
                weights(f"{attention}.o_proj.weight"),
                weights(f"{attention}.o_proj.bias") if architecture.output_bias else None,
            ),
            feed_forward_norm=weights(f"{prefix}.post_attention_layernorm.weight"),
            gate_and_up=torch.cat([weights(f"{prefix}.mlp.{part}_proj.weight") for part in ("gate", "up")]),
            down=weights(f"{prefix}.mlp.down_proj.weight"),
        )

    def _run(self, layer: _Layer, hidden: Tensor, batch: CausalBatch, rotation: Rotation, *, last: bool) -> Tensor:
        weight, bias = layer.projection
        queries = self._architecture.heads * self._architecture.head_width
        states, kept = self._normalise(hidden, layer.norm), hidden
        turned = rotation
        if last:
            kept = hidden[batch.last_rows]
            turned = (rotation[0][batch.last_rows], rotation[1][batch.last_rows])
            asked = functional.linear(
                states[batch.last_rows], weight[:queries], None if bias is None else bias[:queries]
            )
            pair = functional.linear(states, weight[queries:], None if bias is None else bias[queries:])
        else:
            joined = functional.linear(states, weight, bias)
            asked, pair = joined[:, :queries], joined[:, queries:]
        key, value = (self._heads(part) for part in pair.chunk(2, dim=-1))
        query = self._turn(self._heads(asked), layer.query_norm, turned)
        context = attend_causally(
            query, self._turn(key, layer.key_norm, rotation), value, batch.last if last else batch.spans
        )
        mixed = functional.linear(context, *layer.output) + kept
        fed = functional.linear(self._normalise(mixed, layer.feed_forward_norm), layer.gate_and_up)
        gate, up = fed.chunk(2, dim=-1)
        return functional.linear(functional.silu(gate) * up, layer.down) + mixed

    def _heads(self, states: Tensor) -> Tensor:
        return states.view(len(states), -1, self._architecture.head_width)

    def _turn(self, states: Tensor, norm: Tensor | None, rotation: Rotation) -> Tensor:
        """Normalize the heads, if there is a weight for it, and rotate them by their positions."""
        if norm is not None:
            states = self._normalise(states, norm)
        cosine, sine = rotation
        first, second = states.chunk(2, dim=-1)
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
