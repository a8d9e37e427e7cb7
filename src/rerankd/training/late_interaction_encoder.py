"""The encoder of a late-interaction ranker: separate layers for each text, and joint layers for both together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import embedding, gelu, layer_norm, linear, normalize, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from transformers import BertModel

from rerankd.compiler.late_interaction_graph import CLS, SEP
from rerankd.training.attention_bias import AttentionBias
from rerankd.training.fake_quantization import eight_bits, four_bits, seven_bits

SIDE = ("ids", "states", "mask", "hidden", "content", "mean", "tokens")  # attributes of a side


class Side:
    """Encoded texts of one side of the pairs.

    Attributes:
        ids: shape (texts, length).
        states: as the encoder returned them, shape (texts, length, hidden).
        mask: 1 for tokens, 0 for padding, shape (texts, length).
        hidden: the states in float32.
        mean: normalized mean state, shape (texts, hidden).
        tokens: normalized states, shape (texts, length, hidden).
        content: 1 for tokens of the text itself, 0 for special tokens and the prefix, shape (texts, length).
    """

    def __init__(self, ids: torch.Tensor, hidden: torch.Tensor, mask: torch.Tensor, content: torch.Tensor) -> None:
        self.ids, self.states, self.mask = ids, hidden, mask
        self.hidden, self.content = hidden.float(), content.float()
        weights = mask.unsqueeze(-1).float()
        self.mean = normalize((self.hidden * weights).sum(1) / weights.sum(1).clamp(min=1), dim=-1)
        self.tokens = normalize(self.hidden, dim=-1)

    def rows(self, numbers: torch.Tensor) -> Side:
        """Return selected texts, possibly repeated."""
        other = object.__new__(Side)
        for name in SIDE:
            setattr(other, name, getattr(self, name).index_select(0, numbers))
        return other

    def trimmed(self, multiple: int = 1) -> Side:
        """Return the texts without the padding that all of them have; the length stays a multiple of `multiple`."""
        width = -(-int(self.mask.sum(1).max()) // multiple) * multiple
        other = object.__new__(Side)
        for name in SIDE:
            value = getattr(self, name)
            setattr(other, name, value if name == "mean" else value[:, :width])
        return other


class Encoder(torch.nn.Module):
    """BERT encoder that returns hidden states.

    On a CPU attention is written out, which is three to eight times as fast as torch's fused attention when gradients
    are needed, and the products for query, key and value are computed as one. LoRA products are added to the weight,
    which is smaller than the output.

    Attributes:
        quantised: compute matrix products with 8-bit inputs and 7-bit weights like the int8 file, with straight-through
            gradients.
        watch: called with each linear layer and its input.
        joint_layers: number of last layers that read query and document together.
        compute_dtype: type of the states inside the layers, bfloat16 for instance; parameters keep theirs. None: the
            parameters' type.
        token_mask: True for tokens that are not padding, shape (texts, length), of the last call.
        content_mask: True for tokens that are neither padding nor [CLS] nor [SEP], of the last call.
    """

    quantised = False
    watch: Callable[[torch.nn.Linear, torch.Tensor], None] | None = None
    compute_dtype: torch.dtype | None = None

    def __init__(self, bert: BertModel, joint_layers: int = 0) -> None:
        super().__init__()
        if not 0 <= joint_layers <= bert.config.num_hidden_layers:
            raise ValueError(f"joint_layers must be between 0 and {bert.config.num_hidden_layers}, got {joint_layers}.")
        self.bert = bert
        self.joint_layers = joint_layers
        self.heads = bert.config.num_attention_heads
        self.checkpointing = False  # recompute activations in the backward pass

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the states of texts after the last separate layer, shape (texts, length, hidden)."""
        embeddings = self.bert.embeddings
        positions = embeddings.position_embeddings.weight[: ids.shape[1]]
        segment = embeddings.token_type_embeddings.weight[0]
        hidden: torch.Tensor = embeddings.LayerNorm(embedding(ids, self._words()) + positions + segment)
        if self.compute_dtype is not None:
            hidden = hidden.to(self.compute_dtype)
        self._keep_masks(ids, mask)
        bias = AttentionBias.of(mask, self.heads, hidden.dtype)
        for layer in self.bert.encoder.layer[: self._separate]:
            hidden = self._through(layer, hidden, bias)
        return hidden

    def join(self, query: Side, document: Side, cross_bias: torch.Tensor) -> tuple[Side, Side]:
        """Return both sides of pairs, row by row, after the joint layers.

        Args:
            query: queries after the separate layers.
            document: documents after the separate layers.
            cross_bias: bias of attention to the other text, shape (joint layers, heads).
        """
        width = query.ids.shape[1]
        mask = torch.cat([query.mask, document.mask], 1)
        hidden = torch.cat([query.states, document.states], 1)
        self._keep_masks(torch.cat([query.ids, document.ids], 1), mask)
        padding = AttentionBias.of(mask, self.heads, hidden.dtype)
        second = torch.arange(mask.shape[1], device=mask.device) >= width
        for layer, bias in zip(self.bert.encoder.layer[self._separate :], cross_bias, strict=True):
            hidden = self._through(layer, hidden, padding.across(bias, second))
        return (
            Side(query.ids, hidden[:, :width], query.mask, query.content),
            Side(document.ids, hidden[:, width:], document.mask, document.content),
        )

    @property
    def _separate(self) -> int:
        return len(self.bert.encoder.layer) - self.joint_layers

    def _keep_masks(self, ids: torch.Tensor, mask: torch.Tensor) -> None:
        self.token_mask = mask > 0
        self.content_mask = self.token_mask & (ids != CLS) & (ids != SEP)

    def _through(self, layer: Any, hidden: torch.Tensor, bias: AttentionBias) -> torch.Tensor:
        if self.checkpointing and self.training:
            states: torch.Tensor = checkpoint(self._layer, layer, hidden, bias, use_reentrant=False)
            return states
        return self._layer(layer, hidden, bias)

    def _words(self) -> torch.Tensor:
        table: torch.Tensor = self.bert.embeddings.word_embeddings.weight
        # A frozen table is stored in 4-bit blocks already.
        return four_bits(table) if self.quantised and table.requires_grad else table

    def _product(self, value: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        if self.quantised:
            value, weight = eight_bits(value, self.content_mask), seven_bits(weight)
        return linear(value, weight.to(value.dtype), bias.to(value.dtype))

    def _normalized(self, norm: torch.nn.LayerNorm, value: torch.Tensor) -> torch.Tensor:
        if self.compute_dtype is None:
            normalized: torch.Tensor = norm(value)
            return normalized
        weight, bias = norm.weight.to(value.dtype), norm.bias.to(value.dtype)
        return layer_norm(value, norm.normalized_shape, weight, bias, norm.eps)

    def _layer(self, layer: Any, hidden: torch.Tensor, bias: AttentionBias) -> torch.Tensor:
        attention, (batch, length, width) = layer.attention.self, hidden.shape
        projections = (attention.query, attention.key, attention.value)
        parameters = [_with_adapters(projection) for projection in projections]
        packed = self._product(hidden, *(torch.cat(values) for values in zip(*parameters, strict=True)))
        if self.watch:
            for projection in projections:
                self.watch(projection, hidden)
        query, key, value = packed.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scale = query.shape[-1] ** -0.5
        query, key = bias.appended(query * scale, key)
        if hidden.is_cuda:
            context = scaled_dot_product_attention(query, key, value, scale=1.0)
        else:
            context = (query @ key.transpose(-1, -2)).softmax(-1).to(value.dtype) @ value
        context = context.transpose(1, 2).reshape(batch, length, width)
        output = layer.attention.output
        hidden = self._normalized(output.LayerNorm, self._dense(output.dense, context) + hidden)
        inner = gelu(self._dense(layer.intermediate.dense, hidden))
        return self._normalized(layer.output.LayerNorm, self._dense(layer.output.dense, inner) + hidden)

    def _dense(self, dense: torch.nn.Linear, value: torch.Tensor) -> torch.Tensor:
        if self.watch:
            self.watch(dense, value)
        return self._product(value, *_with_adapters(dense))


def _with_adapters(dense: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias of a linear layer with its LoRA adapters added."""
    if type(dense) is torch.nn.Linear:
        return dense.weight, dense.bias
    weight: torch.Tensor = dense.base_layer.weight
    for name in () if dense.disable_adapters or dense.merged else dense.active_adapters:
        weight = weight + dense.scaling[name] * (dense.lora_B[name].weight @ dense.lora_A[name].weight)
    return weight, dense.base_layer.bias
