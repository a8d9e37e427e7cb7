from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from rerankd.scoring.torch.batch import PackedBatch, attend

HEADS, WIDTH = 2, 8


def batch(lengths: list[int]) -> PackedBatch:
    total = sum(lengths)
    zeros = torch.zeros(total, dtype=torch.int64)
    starts = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    return PackedBatch(zeros, zeros, zeros, starts, lengths)


def expected(states: list[torch.Tensor], window: int | None) -> torch.Tensor:
    """Return the attention of one sequence with the whole table of scores."""
    query, key, value = (part.view(len(part), HEADS, -1).transpose(0, 1) for part in states)
    places = torch.arange(key.shape[1])
    mask = (places[: query.shape[1], None] - places).abs() <= (len(places) if window is None else window)
    scores = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return scores.transpose(0, 1).reshape(query.shape[1], -1)


@pytest.mark.parametrize("window", [None, 1, 3, 5, 100])
@pytest.mark.parametrize("last", [False, True])
def test_windows(window: int | None, last: bool) -> None:
    torch.manual_seed(0)
    lengths = [1, 4, 5, 33, 7, 80]
    query, key, value = (torch.randn(sum(lengths), HEADS * WIDTH) for _ in range(3))
    packed = batch(lengths)
    parts = zip(*(states.split_with_sizes(lengths) for states in (query, key, value)), strict=True)
    want = [expected([q[:1] if last else q, k, v], window) for q, k, v in parts]
    given = query[packed.starts[:-1].long()] if last else query
    got = attend(given, key, value, packed, heads=HEADS, last=last, window=window)
    torch.testing.assert_close(got, torch.cat(want), atol=1e-6, rtol=1e-5)
