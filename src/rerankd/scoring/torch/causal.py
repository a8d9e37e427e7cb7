"""Causal attention inside the sequences of a batch, which may share the keys and values of a common beginning."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rerankd.scoring.torch.batch import PackedBatch, varlen_kernel

MIN_SHARED = 16  # fewer tokens save less than the copies of their keys take


@dataclass(frozen=True, slots=True)
class Spans:
    """Queries and keys of each sequence. The last query of a sequence stands at its last key.

    Attributes:
        queries: number of queries of each sequence.
        keys: number of keys of each sequence.
        query_starts: offset of the queries of each sequence, and the total at the end, shape (sequences + 1,), int32.
        key_starts: the same for the keys.
        rows: computed token of each key, shape (keys,), int64; None if each is its own.
    """

    queries: list[int]
    keys: list[int]
    query_starts: Tensor
    key_starts: Tensor
    rows: Tensor | None

    @classmethod
    def of(cls, queries: list[int], keys: list[int], rows: Tensor | None, device: torch.device) -> Spans:
        """Return the spans of sequences with these numbers of queries and keys."""
        starts = [torch.from_numpy(np.cumsum([0, *counts], dtype=np.int32)).to(device) for counts in (queries, keys)]
        return cls(queries, keys, starts[0], starts[1], rows)


@dataclass(frozen=True, slots=True)
class CausalBatch:
    """Tokens that are computed, of which the common beginning is computed once.

    Attributes:
        ids: token ids, shape (computed,), int64.
        positions: place of each in its sequence, shape (computed,), int64.
        spans: spans of all computed tokens.
        last: spans with the last token of each sequence as the only query.
        last_rows: the computed token that is the last of each sequence, shape (sequences,), int64.
    """

    ids: Tensor
    positions: Tensor
    spans: Spans
    last: Spans
    last_rows: Tensor


def causal_batch(batch: PackedBatch) -> CausalBatch:
    """Return the tokens of a batch that are computed.

    If its sequences begin with the same tokens, these come first and only once; each other token belongs to one
    sequence.
    """
    device, lengths = batch.ids.device, batch.lengths
    shared = batch.shared if batch.shared >= MIN_SHARED and len(lengths) > 1 else 0
    ends = np.cumsum(lengths)
    if not shared:
        spans = Spans.of(lengths, lengths, None, device)
        last = Spans.of([1] * len(lengths), lengths, None, device)
        return CausalBatch(batch.ids, batch.positions, spans, last, _move(ends - 1, device))
    head = np.arange(shared)
    chosen = [head, *(np.arange(end - length + shared, end) for end, length in zip(ends, lengths, strict=True))]
    rest = [length - shared for length in lengths]
    starts = shared + np.cumsum([0, *rest])
    keys = [np.concatenate([head, np.arange(*bounds)]) for bounds in pairwise(starts)]
    picked = _move(np.concatenate(chosen), device)
    rows, last_keys = _move(np.concatenate([head, *keys]), device), _move(np.concatenate(keys), device)
    return CausalBatch(
        batch.ids[picked],
        batch.positions[picked],
        Spans.of([shared, *rest], [shared, *lengths], rows, device),
        Spans.of([1] * len(lengths), lengths, last_keys, device),
        _move(starts[1:] - 1, device),
    )


def attend_causally(query: Tensor, key: Tensor, value: Tensor, spans: Spans) -> Tensor:
    """Compute causal attention inside each sequence.

    Args:
        query: shape (queries, heads, width).
        key: shape (computed, key heads, width); each of its heads serves as many heads of the query.
        value: shape (computed, key heads, width).
        spans: the sequences.

    Returns:
        Shape (queries, heads * width).
    """
    if spans.rows is not None:
        key, value = key[spans.rows], value[spans.rows]
    if (groups := query.shape[1] // key.shape[1]) > 1:
        key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
    if query.is_cuda and query.dtype != torch.float32 and (kernel := varlen_kernel()) is not None:
        starts, longest = (spans.query_starts, spans.key_starts), (max(spans.queries), max(spans.keys))
        return kernel(query, key, value, *starts, *longest, **_causal_option(kernel)).reshape(len(query), -1)
    sizes: Sequence[list[int]] = (spans.queries, spans.keys, spans.keys)
    parts = (torch.split_with_sizes(states, size) for states, size in zip((query, key, value), sizes, strict=True))
    return torch.cat([_attend_one(*states) for states in zip(*parts, strict=True)])


@cache
def _causal_option(kernel: Callable[..., Tensor]) -> dict[str, Any]:
    """Return the option that hides later keys, which older versions of torch named otherwise."""
    named = inspect.signature(kernel).parameters
    return {"window_size": (-1, 0)} if "window_size" in named else {"is_causal": True}


def _attend_one(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute the attention of one sequence: (queries, heads, width) in, (queries, heads * width) out.

    Queries are added in front where there are fewer than keys, since the mask of the kernel begins at the first key.
    """
    count, missing = len(query), len(key) - len(query)
    alone = count == 1  # it sees every key
    if missing and not alone:
        query = functional.pad(query, (0, 0, 0, 0, missing, 0))
    first, second, third = (states.transpose(0, 1)[None] for states in (query, key, value))
    context = functional.scaled_dot_product_attention(first, second, third, is_causal=not alone)[0]
    return context.transpose(0, 1)[-count:].reshape(count, -1)


def _move(values: np.ndarray[tuple[int, ...], np.dtype[np.int64]], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(device, non_blocking=True)
