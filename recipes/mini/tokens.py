"""Token ids of texts and pairs, and a ranker's logits of them."""

from __future__ import annotations

import math
import random
from collections import Counter

import torch
from transformers import BertTokenizerFast

from . import loop
from .model import Ranker, match_levels

PART_TOKENS = 2304
CLS, SEP = 2, 3


class Tokens:
    """Token ids of texts, remembered, and the frequency of each id among the passages that were read."""

    def __init__(self, tokenizer: BertTokenizerFast) -> None:
        self._tokenizer = tokenizer.backend_tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._ids: dict[str, list[int]] = {}
        self._documents: Counter[int] = Counter()

    def __call__(self, text: str) -> list[int]:
        """Ids of the first 3,000 characters, without special tokens."""
        found = self._ids.get(text)
        if found is None:
            found = self._tokenizer.encode(text[:3000], add_special_tokens=False).ids[:520]
            self._ids[text] = found
            self._documents.update(set(found))
        return found

    def rarity(self, token: int) -> float:
        """Inverse document frequency."""
        return math.log((len(self._ids) + 2) / (self._documents[token] + 1))

    def window(self, query: list[int], document: list[int], size: int, draw: random.Random) -> list[int]:
        """The part of a document, `size` tokens long, that shares most rare tokens with the query."""
        if len(document) <= size:
            return document
        wanted = {token: self.rarity(token) for token in query}
        gains = [wanted.get(token, 0.0) for token in document]
        step = max(8, size // 6)
        starts = range(0, len(document) - size + step, step)
        best = max(starts, key=lambda start: (sum(gains[start : start + size]), -start))
        best = max(0, min(len(document) - size, best + draw.randint(-step, step)))
        return document[best : best + size]


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of rows, filled up with zeros."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids.to(loop.device()), mask.to(loop.device())


def language(text: str) -> str:
    """`zh` when there is a Han character, else `en`."""
    return "zh" if any("一" <= char <= "鿿" for char in text) else "en"


def encode(query: list[int], document: list[int], length: int) -> tuple[list[int], int]:
    """Ids of a pair as the product puts them together, and where the document begins."""
    query = query[: min(length * 3 // 4, length - 3)]
    first = [CLS, *query, SEP]
    return [*first, *document[: length - len(first) - 1], SEP], len(first)


def score_rows(
    model: Ranker,
    rows: list[tuple[list[int], int]],
    unmatched: list[bool] | None = None,
    part_tokens: int = PART_TOKENS,
) -> torch.Tensor:
    """Logits of encoded pairs, computed in parts of nearly equal length."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    parts: list[list[int]] = [[]]
    for i in order:
        if parts[-1] and len(rows[i][0]) * (len(parts[-1]) + 1) > part_tokens:
            parts.append([])
        parts[-1].append(i)
    logits = []
    for part in parts:
        ids, mask = padded([rows[i][0] for i in part])
        starts = torch.tensor([rows[i][1] for i in part])[:, None]
        segments = ((torch.arange(ids.shape[1])[None] >= starts) & (mask == 1)).long()
        levels = match_levels(ids, segments)
        if unmatched is not None:
            levels *= torch.tensor([0 if unmatched[i] else 1 for i in part])[:, None]
        logits.append(model(ids, mask, segments, levels))
    return torch.cat(logits)[torch.tensor(order).argsort()]
