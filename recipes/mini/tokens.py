"""Token ids of texts, encoded sides of pairs, and the logits of a ranker."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer

from rerankd.compiler.late_interaction_graph import CLS, SEP
from rerankd.training.late_interaction import LateInteractionRanker
from rerankd.training.late_interaction_encoder import SIDE, Side

PART_TOKENS = 3000
WIDTH = 16
HEIGHT = 4
PAD = 0
PREFIXES = {"query": "query:", "passage": "passage:"}


class Tokens:
    """Token ids of texts, cached."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._ids: dict[str, list[int]] = {}
        self.prefixes = {
            kind: self._tokenizer.encode(text, add_special_tokens=False).ids for kind, text in PREFIXES.items()
        }

    def __call__(self, text: str) -> list[int]:
        """Return the ids of the first 3,000 characters, without special tokens."""
        ids = self._ids.get(text)
        if ids is None:
            ids = self._tokenizer.encode(text[:3000], add_special_tokens=False).ids[:520]
            self._ids[text] = ids
        return ids


def rounded(length: int) -> int:
    """Return the padded width of rows of `length`: few widths, because kernels are compiled for each shape."""
    step = WIDTH if length <= 4 * WIDTH else 2 * WIDTH
    return -(-length // step) * step


def padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask of rows, padded, with empty rows up to a multiple of `HEIGHT`."""
    width = rounded(max(map(len, rows)))
    rows = [*rows, *[[CLS]] * (-len(rows) % HEIGHT)]
    ids = torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def parts(lengths: Sequence[int], part_tokens: int = PART_TOKENS) -> list[list[int]]:
    """Split row numbers into parts of nearly equal length, each of at most `part_tokens` padded tokens."""
    batches: list[list[int]] = [[]]
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches[-1] and rounded(lengths[i]) * (len(batches[-1]) + 1) > part_tokens:
            batches.append([])
        batches[-1].append(i)
    return batches


def encode(
    model: LateInteractionRanker, rows: Sequence[Sequence[int]], prefix: Sequence[int], part_tokens: int = PART_TOKENS
) -> Side:
    """Encode texts, given as ids without special tokens, as one side of pairs."""
    framed = [[CLS, *prefix, *row, SEP] for row in rows]
    width = rounded(max(map(len, framed)))
    pieces, order = [], []
    for part in parts(list(map(len, framed)), part_tokens):
        ids, mask = padded([framed[i] for i in part])
        content = mask.clone()
        content[:, : 1 + len(prefix)] = 0
        content[ids == SEP] = 0
        side = model.side(ids, mask, content)
        pieces.append((side, len(part)))
        order += part
    back = torch.tensor(order).argsort()

    def joined(name: str) -> torch.Tensor:
        tokens = []
        for side, count in pieces:
            value = getattr(side, name)[:count]
            if name != "mean":
                shape = list(value.shape)
                shape[1] = width - shape[1]
                value = torch.cat([value, value.new_zeros(shape)], 1)
            tokens.append(value)
        return torch.cat(tokens)[back]

    whole = object.__new__(Side)
    for name in SIDE:
        setattr(whole, name, joined(name))
    return whole


def score(model: LateInteractionRanker, tokens: Tokens, query: str, texts: Sequence[str], length: int) -> torch.Tensor:
    """Return the logits of a query's texts, truncated like the product truncates them."""
    queries = tokens(query)[: length * 3 // 4]
    frame = 4 + len(tokens.prefixes["query"]) + len(tokens.prefixes["passage"])
    room = max(1, length - len(queries) - frame)
    one = encode(model, [queries], tokens.prefixes["query"])
    documents = encode(model, [tokens(text)[:room] for text in texts], tokens.prefixes["passage"])
    return model(one.rows(torch.zeros(len(texts), dtype=torch.long)), documents)
