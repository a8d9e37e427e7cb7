"""The network of `mini`: BERT for pairs as transformers has it, computed so that a CPU trains it quickly.

Weights carry the names of `BertForSequenceClassification`; a saved ranker is an ordinary checkpoint. Attention is
written out, three to eight times as fast as torch's fused one on a CPU when gradients are wanted, and the three
products at its start are one.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu, linear, normalize
from transformers import BertConfig, BertModel

HIDDEN = -10000.0  # added to the attention of what a token must not see


class Encoder(torch.nn.Module):
    """Hidden states of a BERT encoder, after every layer."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert
        self.heads = bert.config.num_attention_heads

    def states(self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor | None = None) -> list[torch.Tensor]:
        """States after the embeddings and after each layer, each of shape (batch, length, hidden)."""
        embeddings = self.bert.embeddings
        places = embeddings.position_embeddings.weight[: ids.shape[1]]
        kinds = embeddings.token_type_embeddings.weight[0] if segments is None else None
        if segments is not None:
            kinds = embeddings.token_type_embeddings(segments)
        hidden = embeddings.LayerNorm(embeddings.word_embeddings(ids) + places + kinds)
        bias = (1 - mask[:, None, None, :]).to(hidden.dtype) * HIDDEN
        found = [hidden]
        for layer in self.bert.encoder.layer:
            found.append(self._layer(layer, found[-1], bias))
        return found

    def _layer(self, layer: torch.nn.Module, hidden: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        own, (batch, length, width) = layer.attention.self, hidden.shape
        parts = (own.query, own.key, own.value)
        packed = linear(hidden, torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts]))
        query, key, value = packed.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2) + bias
        context = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, width)
        output = layer.attention.output
        hidden = output.LayerNorm(output.dense(context) + hidden)
        return layer.output.LayerNorm(layer.output.dense(gelu(layer.intermediate.dense(hidden))) + hidden)

    def embed(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Unit means of the last states, shape (batch, hidden), float32."""
        return mean_state(self.states(ids, mask)[-1], mask)


def mean_state(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Unit means of states over the tokens that are there."""
    weights = mask.unsqueeze(-1).float()
    return normalize((hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1), dim=-1)


class Ranker(torch.nn.Module):
    """Logits of pairs."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        size = bert.config.hidden_size
        self.encoder = Encoder(bert)
        self.pooler = torch.nn.Linear(size, size)
        self.classifier = torch.nn.Linear(size, 1)
        torch.nn.init.normal_(self.pooler.weight, std=0.03)
        torch.nn.init.zeros_(self.pooler.bias)
        torch.nn.init.normal_(self.classifier.weight, std=0.02)
        torch.nn.init.zeros_(self.classifier.bias)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        """Logits, shape (batch,), float32."""
        first = self.encoder.states(ids, mask, segments)[-1][:, 0]
        return self.classifier(torch.tanh(self.pooler(first))).float()[:, 0]

    def save(self, folder: Path, tokenizer: Path) -> None:
        """Write an ordinary `BertForSequenceClassification` checkpoint, with the tokenizer file given."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {_saved(name): value.detach().float().contiguous() for name, value in self.state_dict().items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        config = self.encoder.bert.config.to_dict() | {
            "architectures": ["BertForSequenceClassification"],
            "num_labels": 1,
            "id2label": {"0": "LABEL_0"},
            "label2id": {"LABEL_0": 0},
            "dtype": "float32",
        }
        (folder / "config.json").write_text(json.dumps(config, default=str, indent=1) + "\n")
        if tokenizer.resolve() != (folder / "tokenizer.json").resolve():
            (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())


def _saved(name: str) -> str:
    name = name.removeprefix("encoder.")
    return f"bert.pooler.dense.{name.removeprefix('pooler.')}" if name.startswith("pooler.") else name


def load(folder: Path) -> Ranker:
    """A ranker that was saved, or one that begins from the encoder in `folder`."""
    config = BertConfig(**json.loads((folder / "config.json").read_text()))
    model = Ranker(BertModel(config, add_pooling_layer=False))
    weights = load_file(folder / "model.safetensors")
    if "classifier.weight" in weights:
        model.load_state_dict({_loaded(name): value for name, value in weights.items()})
    else:
        model.encoder.bert.load_state_dict(weights)
    return model


def _loaded(name: str) -> str:
    if name.startswith("bert.pooler.dense."):
        return f"pooler.{name.removeprefix('bert.pooler.dense.')}"
    return f"encoder.{name}" if name.startswith("bert.") else name
