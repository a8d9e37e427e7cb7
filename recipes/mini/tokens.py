"""Token ids of texts, sides of pairs encoded, and a ranker's logits."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer

from rerankd.models.late_interaction_graph import CLS, SEP
from rerankd.training.late_interaction import Ranker, Side

from . import loop

PART_TOKENS = 3000
WIDTH = 16
HEIGHT = 4
PAD = 0
PREFIXES = {"query": "query:", "passage": "passage:"}


class Tokens:
    """Token ids of texts, remembered, and the frequency of each id among the passages that were read."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._ids: dict[str, list[int]] = {}
        self._documents: Counter[int] = Counter()
        self.prefixes = {
            kind: self._tokenizer.encode(text, add_special_tokens=False).ids for kind, text in PREFIXES.items()
        }

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


def rounded(length: int) -> int:
    """The width that rows of `length` are padded to: few widths, because kernels are made anew for each shape."""
    step = WIDTH if length <= 4 * WIDTH else 2 * WIDTH
    return -(-length // step) * step


def padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of rows, filled up with padding, and with empty rows to a multiple of `HEIGHT`."""
    width = rounded(max(map(len, rows)))
    rows = [*rows, *[[CLS]] * (-len(rows) % HEIGHT)]
    ids = torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids.to(loop.device()), mask.to(loop.device())


def parts(lengths: Sequence[int], part_tokens: int = PART_TOKENS) -> list[list[int]]:
    """Numbers of rows, cut into parts of nearly equal length of at most `part_tokens` padded tokens."""
    found: list[list[int]] = [[]]
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if found[-1] and rounded(lengths[i]) * (len(found[-1]) + 1) > part_tokens:
            found.append([])
        found[-1].append(i)
    return found


def language(text: str) -> str:
    """`zh` when there is a Han character, else `en`."""
    return "zh" if any("一" <= char <= "鿿" for char in text) else "en"


def encode(model: Ranker, rows: Sequence[Sequence[int]], prefix: Sequence[int], part_tokens: int = PART_TOKENS) -> Side:
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
        found = []
        for side, count in pieces:
            value = getattr(side, name)[:count]
            if name != "mean":
                shape = list(value.shape)
                shape[1] = width - shape[1]
                value = torch.cat([value, value.new_zeros(shape)], 1)
            found.append(value)
        return torch.cat(found)[back]

    whole = object.__new__(Side)
    for name in ("ids", "hidden", "content", "mean", "tokens"):
        setattr(whole, name, joined(name))
    return whole


def score(model: Ranker, tokens: Tokens, query: str, texts: Sequence[str], length: int) -> torch.Tensor:
    """Logits of a query's texts, cut as the product cuts them."""
    asked = tokens(query)[: length * 3 // 4]
    frame = 4 + len(tokens.prefixes["query"]) + len(tokens.prefixes["passage"])
    room = max(1, length - len(asked) - frame)
    one = encode(model, [asked], tokens.prefixes["query"])
    documents = encode(model, [tokens(text)[:room] for text in texts], tokens.prefixes["passage"])
    return model(one.rows(torch.zeros(len(texts), dtype=torch.long)), documents)
