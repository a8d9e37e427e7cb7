"""The network of the bundled model for training: late interaction.

Query and document are encoded separately by the same encoder, and compared by token (ColBERT, Khattab and Zaharia
2020). The logit is a weighted sum of three similarities: the cosine of the mean states, which the encoder was trained
for; for each query token the most similar document token, weighted by the token's state; and the share of the query's
word pieces that the document repeats, weighted by piece. So before any training the network ranks like a sentence
encoder combined with a keyword index, and it keeps their knowledge of topics that the training data does not cover.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import embedding, gelu, linear, normalize, scaled_dot_product_attention, softplus
from torch.utils.checkpoint import checkpoint
from transformers import BertConfig, BertModel

from rerankd.compiler.late_interaction_graph import CLS, MASKED, SEP

START_MIX = (20.0, 20.0, 2.0)  # initial weights of cosine, best matches and repeated pieces


class Encoder(torch.nn.Module):
    """BERT encoder that returns hidden states.

    On a CPU attention is written out, which is three to eight times as fast as torch's fused attention when gradients
    are needed, and the products for query, key and value are computed as one. LoRA products are added to the weight,
    which is smaller than the output.

    Attributes:
        quantised: compute matrix products with 8-bit inputs and 7-bit weights like the int8 file, with straight-through
            gradients.
        watch: called with each linear layer and its input.
        token_mask: True for tokens that are not padding, shape (texts, length), of the last call.
        content_mask: True for tokens that are neither padding nor [CLS] nor [SEP], of the last call.
    """

    quantised = False
    watch: Callable[[torch.nn.Linear, torch.Tensor], None] | None = None

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert
        self.heads = bert.config.num_attention_heads
        self.checkpointing = False  # recompute activations in the backward pass

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the states after the last layer, shape (texts, length, hidden)."""
        embeddings = self.bert.embeddings
        positions = embeddings.position_embeddings.weight[: ids.shape[1]]
        segment = embeddings.token_type_embeddings.weight[0]
        hidden: torch.Tensor = embeddings.LayerNorm(embedding(ids, self._words()) + positions + segment)
        bias = (1 - mask[:, None, None, :]).to(hidden.dtype) * MASKED
        self.token_mask = mask > 0
        self.content_mask = self.token_mask & (ids != CLS) & (ids != SEP)
        for layer in self.bert.encoder.layer:
            if self.checkpointing and self.training:
                hidden = checkpoint(self._layer, layer, hidden, bias, use_reentrant=False)
            else:
                hidden = self._layer(layer, hidden, bias)
        return hidden

    def _words(self) -> torch.Tensor:
        table: torch.Tensor = self.bert.embeddings.word_embeddings.weight
        # A frozen table is stored in 4-bit blocks already.
        return _four_bits(table) if self.quantised and table.requires_grad else table

    def _product(self, value: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        if self.quantised:
            value, weight = _eight_bits(value, self.content_mask), _seven_bits(weight)
        return linear(value, weight, bias)

    def _layer(self, layer: Any, hidden: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        attention, (batch, length, width) = layer.attention.self, hidden.shape
        projections = (attention.query, attention.key, attention.value)
        parameters = [_with_adapters(projection) for projection in projections]
        packed = self._product(hidden, *(torch.cat(values) for values in zip(*parameters, strict=True)))
        if self.watch:
            for projection in projections:
                self.watch(projection, hidden)
        query, key, value = packed.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if hidden.is_cuda:
            mask = bias.to(query.dtype).expand(batch, self.heads, length, length)
            context = scaled_dot_product_attention(query, key, value, mask)
        else:
            context = ((query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2) + bias).softmax(-1) @ value
        context = context.transpose(1, 2).reshape(batch, length, width)
        output = layer.attention.output
        hidden = output.LayerNorm(self._dense(output.dense, context) + hidden)
        inner = gelu(self._dense(layer.intermediate.dense, hidden))
        states: torch.Tensor = layer.output.LayerNorm(self._dense(layer.output.dense, inner) + hidden)
        return states

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
    masked = value.detach() * mask[..., None]
    low, high = masked.amin(), masked.amax()
    scale = ((high - low) / 255).clamp(min=1e-8)
    rounded = ((value.detach() - low) / scale).round().clamp(0, 255) * scale + low
    return torch.where(mask[..., None], value + (rounded - value.detach()), value)


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


class Side:
    """Encoded texts of one side of the pairs.

    Attributes:
        ids: shape (texts, length).
        mean: normalized mean state, shape (texts, hidden).
        tokens: normalized states, shape (texts, length, hidden).
        content: 1 for tokens of the text itself, 0 for special tokens and the prefix, shape (texts, length).
    """

    def __init__(self, ids: torch.Tensor, hidden: torch.Tensor, mask: torch.Tensor, content: torch.Tensor) -> None:
        self.ids, self.hidden, self.content = ids, hidden.float(), content.float()
        weights = mask.unsqueeze(-1).float()
        self.mean = normalize((self.hidden * weights).sum(1) / weights.sum(1).clamp(min=1), dim=-1)
        self.tokens = normalize(self.hidden, dim=-1)

    def rows(self, numbers: torch.Tensor) -> Side:
        """Return selected texts, possibly repeated."""
        other = object.__new__(Side)
        for name in ("ids", "hidden", "content", "mean", "tokens"):
            setattr(other, name, getattr(self, name).index_select(0, numbers))
        return other


class LateInteractionRanker(torch.nn.Module):
    """Late-interaction ranker: logits of encoded queries and documents."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        size = bert.config.hidden_size
        self.encoder = Encoder(bert)
        self.meaning = torch.nn.Linear(size, 1)  # what a token of the query weighs, by its state
        self.piece = torch.nn.Linear(size, 1)  # and by its embedding
        for weigher in (self.meaning, self.piece):
            torch.nn.init.zeros_(weigher.weight)
            torch.nn.init.zeros_(weigher.bias)
        self.mix = torch.nn.Parameter(torch.tensor(START_MIX))
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def side(self, ids: torch.Tensor, mask: torch.Tensor, content: torch.Tensor) -> Side:
        """Encode texts."""
        return Side(ids, self.encoder(ids, mask), mask, content)

    def forward(self, query: Side, document: Side) -> torch.Tensor:
        """Return the logits of pairs row by row, shape (pairs,), float32."""
        similar = query.tokens @ document.tokens.transpose(1, 2)
        same = (query.ids[:, :, None] == document.ids[:, None, :]).float()
        return self.combined(query, (query.mean * document.mean).sum(-1), similar, same, document.content)

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
    model = LateInteractionRanker(BertModel(config, add_pooling_layer=False))
    if (folder / "ranker.safetensors").exists():
        model.load_state_dict(load_file(folder / "ranker.safetensors"))
    else:
        model.encoder.bert.load_state_dict(load_file(folder / "model.safetensors"))
    return model
