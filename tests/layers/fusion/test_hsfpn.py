"""HSFPN with levels of any sizes and widths."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from yolo_attn.layers import HSFPN


@pytest.mark.parametrize("finer", [(8, 10), (7, 9), (5, 3)])
def test_selects_channels_of_the_finer_map_and_adds_the_coarser_one(finer: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = HSFPN([8, 12])
    x0, x1 = torch.randn(2, 8, *finer), torch.randn(2, 12, 4, 5)
    with torch.no_grad():
        doubled = F.conv_transpose2d(x1, layer.upsample.weight, layer.upsample.bias, 2, 1, 1)
        assert doubled.shape == (2, 8, 8, 10)
        u = doubled if finer == (8, 10) else F.interpolate(doubled, finer, mode="bilinear")
        torch.testing.assert_close(layer([x0, x1]), x0 * layer.select.gate(u) + u)


def test_without_a_transposed_convolution_the_widths_must_be_equal() -> None:
    with pytest.raises(ValueError, match=r"^HSFPN: channels=\[8, 12\]; use two equal numbers with transposed=false"):
        HSFPN([8, 12], transposed=False)
