"""Packed network of DeBERTa-v2.

Linear layers run over all tokens at once, attention within each sequence, because its bias depends on positions there.
The last layer computes query, output and feed-forward only for the first token of each sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rerankd.models.families.deberta import DebertaArchitecture
from rerankd.scoring.torch.batch import DeviceWeights, PackedBatch

_Linear = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class _Layer:
    projection: _Linear
    position_query: Tensor  # (heads, rows, width), as position_key; both scaled like attention
    position_key: Tensor
    output: _Linear
    output_norm: _Linear
    intermediate: _Linear
    feed_forward: _Linear
    feed_forward_norm: _Linear


class DebertaNetwork:
    """Network of a DeBERTa cross-encoder.

    Args:
        architecture: its shape.
        weights: its weights.
    """

    def __init__(self, architecture: DebertaArchitecture, weights: DeviceWeights) -> None:
        self._architecture, self._weights = architecture, weights
        self._words = weights("deberta.embeddings.word_embeddings.weight")
        self._norm = weights.linear("deberta.embeddings.LayerNorm")
        relative = weights("deberta.encoder.rel_embeddings.weight")
        relative = self._normalise(relative, weights.linear("deberta.encoder.LayerNorm"))
        self._layers = [self._load_layer(n, relative) for n in range(architecture.layers)]
        self._rows = torch.from_numpy(architecture.relative_rows(architecture.max_length)).to(weights.device)
        self._head = [tuple(t.float() for t in weights.linear(name)) for name in architecture.head_prefixes]

    def logits(self, batch: PackedBatch) -> Tensor:
        """Return the logits of the sequences, shape (sequences,), float32."""
        hidden = self._normalise(self._words[batch.ids], self._norm)
        for layer in self._layers[:-1]:
            hidden = self._run(layer, hidden, batch, last=False)
        first = self._run(self._layers[-1], hidden, batch, last=True).float()
        (dense, dense_bias), (out, out_bias) = self._head
        return functional.linear(functional.gelu(functional.linear(first, dense, dense_bias)), out, out_bias).squeeze(
            -1
        )

    def _normalise(self, hidden: Tensor, norm: _Linear) -> Tensor:
        return functional.layer_norm(hidden, (self._architecture.hidden,), *norm, self._architecture.layer_norm_eps)

    def _load_layer(self, n: int, relative: Tensor) -> _Layer:
        linear, prefix = self._weights.linear, f"deberta.encoder.layer.{n}"
        query, key, value = (linear(f"{prefix}.attention.self.{part}_proj") for part in ("query", "key", "value"))
        scale = self._architecture.attention_scale
        return _Layer(
            (torch.cat([query[0], key[0], value[0]]), torch.cat([query[1], key[1], value[1]])),
            self._by_head(functional.linear(relative, *query)) * scale,
            self._by_head(functional.linear(relative, *key)) * scale,
            linear(f"{prefix}.attention.output.dense"),
            linear(f"{prefix}.attention.output.LayerNorm"),
            linear(f"{prefix}.intermediate.dense"),
            linear(f"{prefix}.output.dense"),
            linear(f"{prefix}.output.LayerNorm"),
        )

    def _by_head(self, states: Tensor) -> Tensor:
        """Turn (tokens, hidden) into (heads, tokens, width)."""
        return states.view(len(states), self._architecture.heads, -1).transpose(0, 1)

    def _run(self, layer: _Layer, hidden: Tensor, batch: PackedBatch, *, last: bool) -> Tensor:
        kept = hidden[batch.starts[:-1].long()] if last else hidden
        query, key, value = functional.linear(hidden, *layer.projection).chunk(3, dim=-1)
        sequences = zip(*(torch.split_with_sizes(states, batch.lengths) for states in (query, key, value)), strict=True)
        context = torch.cat([self._attend(layer, *states, last=last) for states in sequences])
        mixed = self._normalise(functional.linear(context, *layer.output) + kept, layer.output_norm)
        inner = functional.gelu(functional.linear(mixed, *layer.intermediate))
        return self._normalise(functional.linear(inner, *layer.feed_forward) + mixed, layer.feed_forward_norm)

    def _attend(self, layer: _Layer, query: Tensor, key: Tensor, value: Tensor, *, last: bool) -> Tensor:
        """Compute the attention of one sequence, of its first token only if `last`."""
        length = len(query)
        queries = 1 if last else length
        q, k, v = self._by_head(query[:queries]), self._by_head(key), self._by_head(value)
        rows = self._relative_rows(queries, length).expand(len(q), -1, -1)
        content_to_position = (q @ layer.position_key.transpose(1, 2)).gather(2, rows)
        position_to_content = (k @ layer.position_query.transpose(1, 2)).gather(2, rows.transpose(1, 2))
        bias = content_to_position + position_to_content.transpose(1, 2)
        context = functional.scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=bias[None], scale=self._architecture.attention_scale
        )[0]
        return context.transpose(0, 1).reshape(queries, -1)

    def _relative_rows(self, queries: int, length: int) -> Tensor:
        """Return the row of the table of relative positions for each query and key, shape (queries, length)."""
        query, key = (torch.arange(count, device=self._rows.device) for count in (queries, length))
        return self._rows[query[:, None] - key[None] + self._architecture.max_length - 1]
