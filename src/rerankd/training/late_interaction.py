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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu, linear, softplus
from transformers import BertConfig, BertModel

from rerankd.compiler.late_interaction_graph import MASKED
from rerankd.training.late_interaction_encoder import Encoder, Side

START_MIX = (20.0, 20.0, 2.0)  # initial weights of cosine, best matches and repeated pieces
START_CROSS_BIAS = -4.0  # initial bias of attention to the other text


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
