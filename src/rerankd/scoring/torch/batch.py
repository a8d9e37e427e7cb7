"""Batches of the torch backend and what its networks share: weights on a device, and attention inside sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rerankd.models.checkpoint import Checkpoint

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
WINDOWS_PER_BLOCK = 4  # larger blocks compute more scores that the window hides, smaller ones are many products


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """`PackedRows` on the device of the model.

    Attributes:
        ids: token ids, shape (tokens,), int64.
        positions: rows of the position table, shape (tokens,), int64.
        segments: 0 for the query's side, 1 for the document's, shape (tokens,), int64.
        starts: offset of each sequence, and the total at the end, shape (sequences + 1,), int32.
        lengths: tokens of each sequence.
        shared: tokens with which all sequences begin.
    """

    ids: Tensor
    positions: Tensor
    segments: Tensor
    starts: Tensor
    lengths: list[int]
    shared: int = 0


class DeviceWeights:
    """Weights of a checkpoint, moved to a device and a type.

    Args:
        checkpoint: the checkpoint.
        device: device of the tensors.
        precision: `fp32`, `fp16` or `bf16`.
    """

    def __init__(self, checkpoint: Checkpoint, device: str, precision: str) -> None:
        self._checkpoint = checkpoint
        self.device, self.precision = torch.device(device), precision
        self.dtype = DTYPES[precision]

    def __call__(self, name: str) -> Tensor:
        """Return a weight."""
        array = np.array(self._checkpoint.tensor(name))
        return torch.from_numpy(array).to(self.device, self.dtype)

    def linear(self, name: str) -> tuple[Tensor, Tensor]:
        """Return weight and bias of a layer."""
        return self(f"{name}.weight"), self(f"{name}.bias")


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    batch: PackedBatch,
    *,
    heads: int,
    last: bool = False,
    window: int | None = None,
) -> Tensor:
    """Compute attention inside each sequence.

    One variable-length kernel on CUDA in half precision, `scaled_dot_product_attention` per sequence elsewhere.

    Args:
        query: shape (tokens, width), or (sequences, width) if `last`.
        key: shape (tokens, width).
        value: shape (tokens, width).
        batch: the sequences.
        heads: attention heads.
        last: True if there is one query for each sequence.
        window: distance to the farthest token that a query sees on each side; None for the whole sequence. With `last`
            the query is the first token.

    Returns:
        Shape of `query`.
    """
    q, k, v = (states.view(len(states), heads, -1) for states in (query, key, value))
    windowed = window is not None
    kernel = varlen_kernel() if q.is_cuda and q.dtype != torch.float32 and not (windowed and last) else None
    if kernel is not None:
        starts = torch.arange(len(batch.lengths) + 1, dtype=torch.int32, device=q.device) if last else batch.starts
        longest = max(batch.lengths)
        sides = {"window_size": (window, window)} if windowed else {}
        return kernel(q, k, v, starts, batch.starts, 1 if last else longest, longest, **sides).reshape(len(q), -1)
    counts = [1] * len(batch.lengths) if last else batch.lengths
    sizes = (counts, batch.lengths, batch.lengths)
    parts = (torch.split_with_sizes(states, size) for states, size in zip((q, k, v), sizes, strict=True))
    sequences = zip(*parts, strict=True)
    if window is not None:
        return torch.cat([part for states in sequences for part in _attend_blocks(*states, window=window)])
    return torch.cat([_attend_one(*states) for states in sequences])


def _attend_blocks(query: Tensor, key: Tensor, value: Tensor, *, window: int) -> Iterator[Tensor]:
    """Compute the attention of one sequence inside a window, for blocks of queries and the keys that they see."""
    step = WINDOWS_PER_BLOCK * window
    for start in range(0, len(query), step):
        block = query[start : start + step]
        first, end = max(0, start - window), min(start + len(block) + window, len(key))
        mask = None
        if end - first > window + 1:
            mask = _window_mask(len(block), end - first, start - first, window, query.device)
        yield _attend_one(block, key[first:end], value[first:end], mask)


@lru_cache(maxsize=64)
def _window_mask(queries: int, keys: int, offset: int, window: int, device: torch.device) -> Tensor:
    """Return True where a query sees a key, shape (queries, keys); the first query is at the key `offset`."""
    distance = torch.arange(queries, device=device)[:, None] + offset - torch.arange(keys, device=device)
    return distance.abs() <= window


def _attend_one(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the attention of one sequence: (length, heads, width) in, (length, heads * width) out."""
    first, second, third = (states.transpose(0, 1)[None] for states in (query, key, value))
    context = functional.scaled_dot_product_attention(first, second, third, attn_mask=mask)[0]
    return context.transpose(0, 1).reshape(len(query), -1)


@cache
def varlen_kernel() -> Callable[..., Tensor] | None:
    """Return torch's variable-length attention; None for a torch without it."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return cast("Callable[..., Tensor]", varlen_attn)
