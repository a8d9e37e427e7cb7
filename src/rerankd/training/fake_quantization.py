"""Fake quantization (Jacob et al. 2018): rounding as in the int8 file, with straight-through gradients."""

from __future__ import annotations

import torch


def eight_bits(value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Quantize values at masked positions to 255 steps over their range; leave the others unchanged."""
    plain = value.detach().float()
    masked = plain * mask[..., None]
    low, high = masked.amin(), masked.amax()
    scale = ((high - low) / 255).clamp(min=1e-8)
    rounded = ((plain - low) / scale).round().clamp(0, 255) * scale + low
    return torch.where(mask[..., None], value + (rounded - plain).to(value.dtype), value)


def four_bits(table: torch.Tensor) -> torch.Tensor:
    """Quantize a table to blocks of 32 numbers from -8 to 7 with one scale per block."""
    blocks = table.detach().view(-1, 32)
    widest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = torch.where(widest == 0, torch.ones_like(widest), widest / -8)
    rounded = ((blocks / scale).round().clamp(-8, 7) * scale).view_as(table)
    return table + (rounded - table.detach())


def seven_bits(weight: torch.Tensor) -> torch.Tensor:
    """Quantize weights to 63 steps in each direction, with one scale per output."""
    scale = (weight.detach().abs().amax(1, keepdim=True) / 63).clamp(min=1e-8)
    return weight + ((weight.detach() / scale).round() * scale - weight.detach())
