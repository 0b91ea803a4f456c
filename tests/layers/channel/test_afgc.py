"""AFGC against the products of all pairs of channels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers import AFGC


def test_sums_equal_those_of_the_products_of_all_pairs() -> None:
    torch.manual_seed(0)
    layer, x = AFGC(16, kernel_size=5), torch.randn(2, 16, 5, 6)
    s = x.mean((2, 3))
    a = F.conv1d(s[:, None], layer.conv.weight, padding=2)[:, 0]
    products = a[:, :, None] * layer.fc(s)[:, None]  # a_i b_j
    m = layer.mix.sigmoid()
    o = m * products.sum(1).sigmoid() + (1 - m) * products.sum(2).sigmoid()
    expected = F.conv1d(o[:, None], layer.conv.weight, padding=2)[:, 0].sigmoid()
    torch.testing.assert_close(layer.gate(x)[..., 0, 0], expected)


@pytest.mark.parametrize(("channels", "kernel"), [(8, 3), (64, 3), (128, 5), (1024, 5)])
def test_default_kernel_is_derived_from_the_channels(channels: int, kernel: int) -> None:
    assert AFGC(channels).conv.kernel_size == (kernel,)
