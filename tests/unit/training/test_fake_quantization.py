from __future__ import annotations

import pytest
import torch

from rerankd.training.fake_quantization import eight_bits, four_bits, seven_bits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_eight_bits_round_to_half_a_step_and_leave_other_positions(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    value = torch.randn(2, 5, 8).to(dtype)
    mask = torch.tensor([[False, True, True, True, False], [True] * 5])
    rounded = eight_bits(value, mask)
    assert rounded.dtype == dtype
    assert torch.equal(rounded[~mask], value[~mask])
    inside = (value * mask[..., None]).float()
    step = float(inside.max() - inside.min()) / 255
    tolerance = step / 2 + (0.02 if dtype == torch.bfloat16 else 1e-6)
    assert float((rounded - value).abs().max()) <= tolerance


def test_seven_bits_keep_the_largest_weight_of_an_output() -> None:
    torch.manual_seed(0)
    weight = torch.randn(4, 16)
    rounded = seven_bits(weight)
    assert rounded.abs().amax(1).tolist() == pytest.approx(weight.abs().amax(1).tolist(), rel=1e-5)
    assert all(len(set((row / row.abs().max() * 63).round(decimals=3).tolist())) <= 127 for row in rounded)


def test_gradients_pass_straight_through() -> None:
    for function in (seven_bits, four_bits):
        weight = torch.randn(2, 32, requires_grad=True)
        function(weight).sum().backward()  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        assert torch.equal(weight.grad, torch.ones_like(weight))


def test_four_bits_have_sixteen_steps_in_a_block() -> None:
    torch.manual_seed(0)
    rounded = four_bits(torch.randn(3, 64))
    assert all(len(set(block.tolist())) <= 16 for block in rounded.view(-1, 32))
