from __future__ import annotations

import torch

from rerankd.compiler.late_interaction_graph import MASKED
from rerankd.training.attention_bias import AttentionBias


def scores(bias: AttentionBias, texts: int) -> torch.Tensor:
    """Return what a bias adds to the attention scores of states that are zero."""
    zeros = torch.zeros(texts, bias.query.shape[0], bias.query.shape[1], 4)
    query, key = bias.appended(zeros, zeros)
    return query @ key.transpose(-1, -2)


def test_padding_is_hidden_from_every_head_and_token() -> None:
    added = scores(AttentionBias.of(torch.tensor([[1, 1, 0], [1, 1, 1]]), 2, torch.float32), 2)
    assert added.shape == (2, 2, 3, 3)
    assert (added[0, :, :, 2] == MASKED).all()
    assert not added[0, :, :, :2].any()
    assert not added[1].any()


def test_a_head_has_its_bias_where_the_texts_differ() -> None:
    padding = AttentionBias.of(torch.tensor([[1, 1, 1, 0]]), 2, torch.float32)
    added = scores(padding.across(torch.tensor([-1.0, 2.0]), torch.tensor([0, 0, 1, 1])), 1)[0]
    for head, bias in enumerate((-1.0, 2.0)):
        expected = [[0, 0, bias], [0, 0, bias], [bias, bias, 0], [bias, bias, 0]]
        assert added[head, :, :3].tolist() == expected
    assert (added[..., 3] <= MASKED + 2).all()
