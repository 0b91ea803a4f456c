"""Base classes and shared helpers of the layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from yolo_attn.layers import CBAM, SE
from yolo_attn.layers.norms import BatchNorm, GroupNorm
from yolo_attn.layers.numerics import channel_shuffle, wide
from yolo_attn.layers.sizes import fitting_groups, hidden_width

from .memory import peak_bytes


@pytest.mark.parametrize("init", ["paper", "identity"])
def test_the_scale_is_the_factor_of_the_input(init: str) -> None:
    x = torch.randn(2, 16, 5, 6)
    for layer in (SE(16, init=init), CBAM(16, init=init)):
        for name, parameter in layer.named_parameters():
            if name.endswith("gamma"):
                nn.init.constant_(parameter, 0.7)
        layer.eval()
        torch.testing.assert_close(layer(x), x * layer.scale(x))


def test_gamma_fades_from_the_identity_to_the_paper() -> None:
    torch.manual_seed(0)
    x, paper = torch.randn(2, 16, 5, 6), SE(16)
    layer = SE(16, init="identity")
    layer.load_state_dict(paper.state_dict(), strict=False)
    assert layer.gamma is not None
    for amount in (0.0, 0.5, 1.0):
        nn.init.constant_(layer.gamma, amount)
        torch.testing.assert_close(layer(x), (1 - amount) * x + amount * paper(x))


def test_widths_and_groups() -> None:
    assert [hidden_width(c, 16) for c in (8, 16, 40, 64)] == [1, 1, 2, 4]
    assert hidden_width(64, 32, 8) == 8
    assert [fitting_groups(c, 32) for c in (24, 64, 7)] == [8, 32, 1]


def test_batch_norm_equals_pytorchs_and_takes_one_value_per_channel() -> None:
    torch.manual_seed(0)
    norm, stock = BatchNorm(4), nn.BatchNorm2d(4)
    for _ in range(3):
        x = torch.randn(2, 4, 3, 3) + 1
        assert torch.equal(norm(x), stock(x))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    one = torch.randn(1, 4, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        stock(one)
    assert torch.equal(norm(one), stock.eval()(one))
    assert torch.equal(norm(one[:, :, 0, 0]), stock(one)[:, :, 0, 0])
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_group_norm_equals_pytorchs_and_takes_one_value_per_group() -> None:
    norm, x = GroupNorm(2, 4), torch.randn(2, 4, 3, 3)
    assert torch.equal(norm(x), nn.GroupNorm(2, 4)(x))
    assert GroupNorm(4, 4)(torch.randn(1, 4, 1, 1)).abs().max() < 1e-4


def test_channel_shuffle_interleaves_the_groups() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert channel_shuffle(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert channel_shuffle(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]


def test_wide_never_narrows() -> None:
    assert [wide(t) for t in (torch.float16, torch.bfloat16, torch.float32, torch.float64)] == [
        torch.float32,
        torch.float32,
        torch.float32,
        torch.float64,
    ]


class _Attention(nn.Module):
    """Self-attention over all positions, with or without its weights in memory."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t = x.flatten(2).transpose(1, 2)[:, None].contiguous()
        if self.fused:
            return nn.functional.scaled_dot_product_attention(t, t, t)
        return (t @ t.transpose(2, 3)).softmax(3) @ t


def test_the_memory_meter_finds_quadratic_weights() -> None:
    n = 160 * 160
    quadratic = peak_bytes(lambda: _Attention(False), (1, 16, 160, 160))
    assert 4 * n * n <= quadratic <= 3 * 4 * n * n
    assert peak_bytes(lambda: _Attention(True), (1, 16, 160, 160)) < 20e6
