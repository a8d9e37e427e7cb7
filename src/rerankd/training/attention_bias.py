"""Bias of attention scores that hides padding, and that the joint layers of a late-interaction ranker learn."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rerankd.compiler.late_interaction_graph import MASKED

BIAS_COLUMNS = 8  # columns appended to queries and keys, of which three are used


@dataclass(frozen=True, slots=True)
class AttentionBias:
    """A bias of attention scores of low rank: the product of columns appended to queries and keys.

    So no tensor of shape (texts, heads, length, length) is made, added and differentiated.

    Attributes:
        query: shape (heads, length, BIAS_COLUMNS).
        key: shape (texts, length, BIAS_COLUMNS).
    """

    query: torch.Tensor
    key: torch.Tensor

    @classmethod
    def of(cls, mask: torch.Tensor, heads: int, dtype: torch.dtype) -> AttentionBias:
        """Return a bias that hides padding."""
        query = torch.zeros(heads, mask.shape[1], BIAS_COLUMNS, dtype=dtype, device=mask.device)
        key = torch.zeros(*mask.shape, BIAS_COLUMNS, dtype=dtype, device=mask.device)
        query[..., 0], key[..., 0] = 1, (1 - mask) * MASKED
        return cls(query, key)

    def across(self, cross_bias: torch.Tensor, second: torch.Tensor) -> AttentionBias:
        """Return this bias with a bias per head, shape (heads,), where the two tokens belong to different texts.

        Args:
            cross_bias: bias per head.
            second: 1 for positions of the second text, shape (length,).
        """
        second = second.to(self.query.dtype)
        bias = cross_bias.to(self.query.dtype)[:, None]
        columns = [self.query[..., 0], bias * (1 - second), bias * second]
        missing = self.query.new_zeros(*self.query.shape[:2], BIAS_COLUMNS - len(columns))
        key = self.key.clone()
        key[..., 1], key[..., 2] = second, 1 - second
        return AttentionBias(torch.cat([torch.stack(columns, -1), missing], -1), key)

    def appended(self, query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return queries and keys of shape (texts, heads, length, width) with the bias's columns."""
        texts, heads = query.shape[:2]
        return (
            torch.cat([query, self.query[None].expand(texts, -1, -1, -1).to(query.dtype)], -1),
            torch.cat([key, self.key[:, None].expand(-1, heads, -1, -1).to(key.dtype)], -1),
        )
