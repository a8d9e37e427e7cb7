"""The network of `mini`: a bi-encoder that looks across, with exact matches marked at its input.

Three departures from BERT for pairs, each because 25 million parameters and an hour of training cannot learn it:

- A token's segment embedding says whether it stands alone in the other text, in a pair or in a run of three or more
  (after MarkedBERT, Boualili et al. 2020): exact match need not be learnt token by token.
- The first `SPLIT` layers see query and document apart (after PreTTR, MacAvaney et al. 2020), with positions that
  start again, so that they begin as the sentence encoder they come from.
- The logit is the usual [CLS] head plus the cosine of the two mean states: before the first step of training the
  network already ranks like a sentence encoder.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu, normalize
from transformers import BertModel, BertTokenizerFast

SPLIT = 3
LEVELS = 4
LAST_SPECIAL = 4  # [PAD] [UNK] [CLS] [SEP] [MASK]
HIDDEN = -10000.0  # added to the attention of what a token must not see
COSINE_SCALE = 3.0  # of ten times the cosine: one rate of learning then suits it and the other heads


def match_levels(ids: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    """How long a run of the other text each token is part of: 0 none, 1 one token, 2 two, 3 three or more.

    Args:
        ids: token ids, shape (batch, length), padding 0.
        segments: 0 for the query, 1 for the document, same shape.
    """
    real = ids > LAST_SPECIAL
    equal = (ids[:, :, None] == ids[:, None, :]) & (segments[:, :, None] != segments[:, None, :])
    equal &= real[:, :, None] & real[:, None, :]
    before, after = _shifted(equal, 1), _shifted(equal, -1)
    two = equal & (before | after)
    three = equal & ((before & after) | (before & _shifted(equal, 2)) | (after & _shifted(equal, -2)))
    return equal.any(-1).long() + two.any(-1).long() + three.any(-1).long()


def _shifted(equal: torch.Tensor, by: int) -> torch.Tensor:
    """Entry (i, j) becomes entry (i - by, j - by); outside it is false."""
    out = torch.zeros_like(equal)
    if by > 0:
        out[:, by:, by:] = equal[:, :-by, :-by]
    else:
        out[:, :by, :by] = equal[:, -by:, -by:]
    return out


class Ranker(torch.nn.Module):
    """Logits of pairs. Weights carry the names of `BertForSequenceClassification`, plus `cosine`.

    Args:
        encoder: a BERT encoder; its segment table may have two rows (they are multiplied) or `2 * LEVELS`. Its
            configuration may say `split`, and `rank`: words then have that many numbers, and a matrix makes them wide.
    """

    def __init__(self, encoder: BertModel) -> None:
        super().__init__()
        self.bert = encoder
        self.heads = encoder.config.num_attention_heads
        table = encoder.embeddings.token_type_embeddings
        if table.num_embeddings != 2 * LEVELS:
            first = table.weight.data[:1]
            rows = first + 0.02 * torch.randn(2 * LEVELS, first.shape[1], generator=torch.Generator().manual_seed(0))
            encoder.embeddings.token_type_embeddings = torch.nn.Embedding.from_pretrained(rows, freeze=False)
            encoder.config.type_vocab_size = 2 * LEVELS
        self.classifier = torch.nn.Linear(encoder.config.hidden_size, 1)
        torch.nn.init.zeros_(self.classifier.weight)
        torch.nn.init.zeros_(self.classifier.bias)
        self.cosine = torch.nn.Parameter(torch.tensor([COSINE_SCALE]))
        self.split: int = getattr(encoder.config, "split", SPLIT)
        self.projection: torch.nn.Linear | None = None
        if rank := getattr(encoder.config, "rank", 0):
            encoder.embeddings.word_embeddings = torch.nn.Embedding(encoder.config.vocab_size, rank)
            self.projection = torch.nn.Linear(rank, encoder.config.hidden_size, bias=False)

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, segments: torch.Tensor, levels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits, shape (batch,), float32."""
        if levels is None:
            levels = match_levels(ids, segments)
        embeddings = self.bert.embeddings
        query_length = ((segments == 0) & (mask == 1)).sum(1, keepdim=True)
        places = torch.arange(ids.shape[1], device=ids.device)[None] - segments * (query_length - 1)
        words = embeddings.word_embeddings(ids)
        if self.projection is not None:
            words = self.projection(words)
        hidden = words + embeddings.position_embeddings(places)
        hidden = embeddings.LayerNorm(hidden + embeddings.token_type_embeddings(segments + 2 * levels))
        real = mask[:, None, None, :].bool()
        apart = real & (segments[:, None, :, None] == segments[:, None, None, :])
        hidden_from = [(~seen).to(hidden.dtype) * HIDDEN for seen in (apart, real)]
        for number, layer in enumerate(self.bert.encoder.layer):
            hidden = self._layer(layer, hidden, hidden_from[number >= self.split])
        cosine = (self._mean(hidden, mask * (1 - segments)) * self._mean(hidden, mask * segments)).sum(-1)
        inner = torch.tanh(self.bert.pooler.dense(hidden[:, 0]))
        return self.classifier(inner).float()[:, 0] + 10 * self.cosine.float() * cosine

    def _layer(self, layer: torch.nn.Module, hidden: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        own, batch, length = layer.attention.self, hidden.shape[0], hidden.shape[1]
        query, key, value = (
            part(hidden).view(batch, length, self.heads, -1).transpose(1, 2) for part in (own.query, own.key, own.value)
        )
        # Written out: three to eight times as fast, both ways, as torch's fused attention on a CPU at these lengths.
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2) + bias
        context = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, -1)
        output = layer.attention.output
        hidden = output.LayerNorm(output.dense(context) + hidden)
        inner = gelu(layer.intermediate.dense(hidden))
        return layer.output.LayerNorm(layer.output.dense(inner) + hidden)

    @staticmethod
    def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        weights = mask.unsqueeze(-1).float()
        return normalize((hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1), dim=-1)

    def save(self, folder: Path, tokenizer: BertTokenizerFast) -> None:
        """Write weights, shape and tokenizer."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {k: v.detach().float().contiguous() for k, v in self.state_dict().items()}, folder / "ranker.safetensors"
        )
        (folder / "config.json").write_text(json.dumps(self.bert.config.to_dict(), default=str, indent=1))
        tokenizer.save_pretrained(folder)


def load(folder: Path) -> Ranker:
    """A ranker that was saved, or one that begins from the encoder in `folder`."""
    if (folder / "ranker.safetensors").exists():
        from transformers import BertConfig

        model = Ranker(BertModel(BertConfig(**json.loads((folder / "config.json").read_text()))))
        model.load_state_dict(load_file(folder / "ranker.safetensors"))
        return model
    return Ranker(BertModel.from_pretrained(folder))
