"""The network of the bundled model for training: late interaction, with joint layers.

The first layers of the encoder read query and document separately, the last ones, the joint layers, read them together:
there a token of one text attends to the other text too, with a bias that is learned per head and starts at -4. The
states are compared by token (ColBERT, Khattab and Zaharia 2020). The logit is a weighted sum of three similarities: the
cosine of the mean states, which the encoder was trained for; for each query token the most similar document token,
weighted by the token's state; and the share of the query's word pieces that the document repeats, weighted by piece.
With joint layers a small head on the states of both [CLS] tokens is added. So before any training the network without
joint layers ranks like a sentence encoder combined with a keyword index, and it keeps their knowledge of topics that
the training data does not cover.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import (
    embedding,
    gelu,
    layer_norm,
    linear,
    normalize,
    scaled_dot_product_attention,
    softplus,
)
from torch.utils.checkpoint import checkpoint
from transformers import BertConfig, BertModel

from rerankd.compiler.late_interaction_graph import CLS, MASKED, SEP

START_MIX = (20.0, 20.0, 2.0)  # initial weights of cosine, best matches and repeated pieces
START_CROSS_BIAS = -4.0  # initial bias of attention to the other text
BIAS_COLUMNS = 8  # columns appended to queries and keys, of which three are used


@dataclass(frozen=True, slots=True)
class AttentionBias:
    """A bias of attention scores of low rank: the product of columns appended to queries and keys.

    So no tensor of shape (texts, heads, length, length) is made, added and differentiated.

    Attributes:
        query: shape (heads, length, BIAS_COLUMNS).
        key: shape (texts, length, BIAS_COLUMNS).
    """

    query: torch.Tensor
    key: torch.Tensor

    @classmethod
    def of(cls, mask: torch.Tensor, heads: int, dtype: torch.dtype) -> AttentionBias:
        """Return a bias that hides padding."""
        query = torch.zeros(heads, mask.shape[1], BIAS_COLUMNS, dtype=dtype, device=mask.device)
        key = torch.zeros(*mask.shape, BIAS_COLUMNS, dtype=dtype, device=mask.device)
        query[..., 0], key[..., 0] = 1, (1 - mask) * MASKED
        return cls(query, key)

    def across(self, cross_bias: torch.Tensor, second: torch.Tensor) -> AttentionBias:
        """Return this bias with a bias per head, shape (heads,), where the two tokens belong to different texts.

        Args:
            cross_bias: bias per head.
            second: 1 for positions of the second text, shape (length,).
        """
        second = second.to(self.query.dtype)
        bias = cross_bias.to(self.query.dtype)[:, None]
        columns = [self.query[..., 0], bias * (1 - second), bias * second]
        missing = self.query.new_zeros(*self.query.shape[:2], BIAS_COLUMNS - len(columns))
        key = self.key.clone()
        key[..., 1], key[..., 2] = second, 1 - second
        return AttentionBias(torch.cat([torch.stack(columns, -1), missing], -1), key)

    def appended(self, query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return queries and keys of shape (texts, heads, length, width) with the bias's columns."""
        texts, heads = query.shape[:2]
        return (
            torch.cat([query, self.query[None].expand(texts, -1, -1, -1).to(query.dtype)], -1),
            torch.cat([key, self.key[:, None].expand(-1, heads, -1, -1).to(key.dtype)], -1),
        )


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
        return _four_bits(table) if self.quantised and table.requires_grad else table

    def _product(self, value: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        if self.quantised:
            value, weight = _eight_bits(value, self.content_mask), _seven_bits(weight)
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


def _eight_bits(value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Quantize values at masked positions to 255 steps over their range; leave the others unchanged."""
    plain = value.detach().float()
    masked = plain * mask[..., None]
    low, high = masked.amin(), masked.amax()
    scale = ((high - low) / 255).clamp(min=1e-8)
    rounded = ((plain - low) / scale).round().clamp(0, 255) * scale + low
    return torch.where(mask[..., None], value + (rounded - plain).to(value.dtype), value)


def _four_bits(table: torch.Tensor) -> torch.Tensor:
    """Quantize a table to blocks of 32 numbers from -8 to 7 with one scale per block."""
    blocks = table.detach().view(-1, 32)
    widest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = torch.where(widest == 0, torch.ones_like(widest), widest / -8)
    rounded = ((blocks / scale).round().clamp(-8, 7) * scale).view_as(table)
    return table + (rounded - table.detach())


def _seven_bits(weight: torch.Tensor) -> torch.Tensor:
    """Quantize weights to 63 steps in each direction, with one scale per output."""
    scale = (weight.detach().abs().amax(1, keepdim=True) / 63).clamp(min=1e-8)
    return weight + ((weight.detach() / scale).round() * scale - weight.detach())


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


class LateInteractionRanker(torch.nn.Module):
    """Late-interaction ranker: logits of encoded queries and documents.

    Args:
        bert: the encoder.
        joint_layers: number of its last layers that read query and document together.
    """

    def __init__(self, bert: BertModel, joint_layers: int = 0) -> None:
        super().__init__()
        size = bert.config.hidden_size
        self.encoder = Encoder(bert, joint_layers)
        self.meaning = torch.nn.Linear(size, 1)  # what a token of the query weighs, by its state
        self.piece = torch.nn.Linear(size, 1)  # and by its embedding
        for weigher in (self.meaning, self.piece):
            torch.nn.init.zeros_(weigher.weight)
            torch.nn.init.zeros_(weigher.bias)
        self.mix = torch.nn.Parameter(torch.tensor(START_MIX))
        self.bias = torch.nn.Parameter(torch.zeros(1))
        if joint_layers:
            self.cross_bias = torch.nn.Parameter(torch.full((joint_layers, self.encoder.heads), START_CROSS_BIAS))
            self.joint_dense = torch.nn.Linear(2 * size, size)
            self.joint_output = torch.nn.Linear(size, 1)
            torch.nn.init.zeros_(self.joint_output.weight)
            torch.nn.init.zeros_(self.joint_output.bias)

    def side(self, ids: torch.Tensor, mask: torch.Tensor, content: torch.Tensor) -> Side:
        """Encode texts with the separate layers."""
        return Side(ids, self.encoder(ids, mask), mask, content)

    def forward(self, query: Side, document: Side) -> torch.Tensor:
        """Return the logits of pairs row by row, shape (pairs,), float32."""
        if self.encoder.joint_layers:
            query, document = self.encoder.join(query, document, self.cross_bias)
        similar = query.tokens @ document.tokens.transpose(1, 2)
        same = (query.ids[:, :, None] == document.ids[:, None, :]).float()
        logits = self.combined(query, (query.mean * document.mean).sum(-1), similar, same, document.content)
        if self.encoder.joint_layers:
            logits = logits + self._joint_head(torch.cat([query.hidden[:, 0], document.hidden[:, 0]], -1))
        return logits

    def _joint_head(self, first: torch.Tensor) -> torch.Tensor:
        """Return what the states of both [CLS] tokens add to the logit, in float32 whatever the parameters' type."""
        with torch.autocast(first.device.type, enabled=False):
            inner = gelu(linear(first, self.joint_dense.weight.float(), self.joint_dense.bias.float()))
            return linear(inner, self.joint_output.weight.float(), self.joint_output.bias.float())[:, 0]

    def combined(
        self, query: Side, cosine: torch.Tensor, similar: torch.Tensor, same: torch.Tensor, content: torch.Tensor
    ) -> torch.Tensor:
        """Return logits from token similarities of shape (pairs, query length, document length)."""
        masked = (1 - content[:, None, :]) * MASKED
        best = (similar + masked).amax(-1).clamp(min=-1)
        repeated = (same * content[:, None, :]).amax(-1)
        embedded = self.encoder.bert.embeddings.word_embeddings(query.ids).float()
        similarities = [
            (best * self.weights(self.meaning, query.hidden, query.content)).sum(-1),
            (repeated * self.weights(self.piece, embedded, query.content)).sum(-1),
        ]
        mix = self.mix.float()
        return mix[0] * cosine + mix[1] * similarities[0] + mix[2] * similarities[1] + self.bias.float()

    @staticmethod
    def weights(weigher: torch.nn.Linear, states: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
        """Return the weight of each query token; they sum to one."""
        raw = softplus(linear(states, weigher.weight.float(), weigher.bias.float())[..., 0]) * content
        return raw / raw.sum(-1, keepdim=True).clamp(min=1e-6)

    def save(self, folder: Path, tokenizer: Path) -> None:
        """Save weights, configuration and tokenizer."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.detach().float().contiguous() for name, value in self.state_dict().items()}
        save_file(weights, folder / "ranker.safetensors")
        config = self.encoder.bert.config.to_dict()
        (folder / "config.json").write_text(json.dumps(config, default=str, indent=1) + "\n", encoding="utf-8")
        if tokenizer.resolve() != (folder / "tokenizer.json").resolve():
            (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())


def load(folder: Path) -> LateInteractionRanker:
    """Load a saved ranker, or a new one from the encoder in `folder`."""
    config = BertConfig(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    if not (folder / "ranker.safetensors").exists():
        model = LateInteractionRanker(BertModel(config, add_pooling_layer=False))
        model.encoder.bert.load_state_dict(load_file(folder / "model.safetensors"))
        return model
    weights = load_file(folder / "ranker.safetensors")
    model = LateInteractionRanker(BertModel(config, add_pooling_layer=False), joint_layers(weights))
    model.load_state_dict(weights)
    return model


def joint_layers(weights: Mapping[str, Any]) -> int:
    """Return the number of joint layers of a ranker with these weights."""
    return len(weights["cross_bias"]) if "cross_bias" in weights else 0
