"""Packed network of BERT and XLM-RoBERTa.

The last layer computes query, output and feed-forward only for the first token of each sequence, because the head
reads nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rerankd.models.families.bert import BertArchitecture
from rerankd.scoring.torch.batch import DeviceWeights, PackedBatch, attend


@dataclass(frozen=True, slots=True)
class _Layer:
    projection: tuple[Tensor, Tensor]
    output: tuple[Tensor, Tensor]
    output_norm: tuple[Tensor, Tensor]
    intermediate: tuple[Tensor, Tensor]
    feed_forward: tuple[Tensor, Tensor]
    feed_forward_norm: tuple[Tensor, Tensor]


class BertNetwork:
    """Network of a BERT or XLM-RoBERTa cross-encoder.

    Args:
        architecture: its shape.
        weights: its weights.
    """

    def __init__(self, architecture: BertArchitecture, weights: DeviceWeights) -> None:
        self._architecture, self._weights = architecture, weights
        self._layers = [self._load_layer(n) for n in range(architecture.layers)]
        prefix = f"{architecture.prefix}.embeddings"
        self._tables = [weights(f"{prefix}.{kind}_embeddings.weight") for kind in ("word", "position", "token_type")]
        self._norm = weights.linear(f"{prefix}.LayerNorm")
        self._head = [tuple(t.float() for t in weights.linear(name)) for name in architecture.head]

    def logits(self, batch: PackedBatch) -> Tensor:
        """Return the logits of the sequences, shape (sequences,), float32."""
        words, positions, segments = self._tables
        hidden = words[batch.ids] + positions[batch.positions] + segments[batch.segments]
        hidden = self._normalise(hidden, self._norm)
        for layer in self._layers[:-1]:
            hidden = self._run(layer, hidden, batch, last=False)
        first = self._run(self._layers[-1], hidden, batch, last=True).float()
        (dense, dense_bias), (out, out_bias) = self._head
        return functional.linear(torch.tanh(functional.linear(first, dense, dense_bias)), out, out_bias).squeeze(-1)

    def _normalise(self, hidden: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
        return functional.layer_norm(hidden, (self._architecture.hidden,), *norm, self._architecture.layer_norm_eps)

    def _load_layer(self, n: int) -> _Layer:
        linear, prefix = self._weights.linear, f"{self._architecture.prefix}.encoder.layer.{n}"
        parts = [linear(f"{prefix}.attention.self.{part}") for part in ("query", "key", "value")]
        return _Layer(
            (torch.cat([w for w, _ in parts]), torch.cat([b for _, b in parts])),
            linear(f"{prefix}.attention.output.dense"),
            linear(f"{prefix}.attention.output.LayerNorm"),
            linear(f"{prefix}.intermediate.dense"),
            linear(f"{prefix}.output.dense"),
            linear(f"{prefix}.output.LayerNorm"),
        )

    def _run(self, layer: _Layer, hidden: Tensor, batch: PackedBatch, *, last: bool) -> Tensor:
        size = self._architecture.hidden
        weight, bias = layer.projection
        kept = hidden
        if last:
            kept = hidden[batch.starts[:-1].long()]
            query = functional.linear(kept, weight[:size], bias[:size])
            key, value = functional.linear(hidden, weight[size:], bias[size:]).chunk(2, dim=-1)
        else:
            query, key, value = functional.linear(hidden, weight, bias).chunk(3, dim=-1)
        context = attend(query, key, value, batch, heads=self._architecture.heads, last=last)
        mixed = self._normalise(functional.linear(context, *layer.output) + kept, layer.output_norm)
        inner = functional.gelu(functional.linear(mixed, *layer.intermediate))
        return self._normalise(functional.linear(inner, *layer.feed_forward) + mixed, layer.feed_forward_norm)
