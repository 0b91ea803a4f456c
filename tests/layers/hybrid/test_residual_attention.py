"""Skip connections and mask of ResidualAttention."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from yolo_attn.layers import ResidualAttention


def test_plain_skips_add_only_the_skip_connections() -> None:
    layer, x = ResidualAttention(8, plain_skips=True).eval(), torch.randn(1, 8, 12, 9)
    fine = layer.down[0](F.max_pool2d(x, 3, 2, 1))
    coarse = layer.down[1](F.max_pool2d(fine, 3, 2, 1))
    up = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=True) + layer.skips[0](fine)
    expected = F.interpolate(layer.up[0](up), x.shape[2:], mode="bilinear", align_corners=True)
    torch.testing.assert_close(layer._hourglass(x, torch.full_like(x, 100.0)), expected)


def test_zero_mask_logits_scale_the_trunk() -> None:
    layer, x = ResidualAttention(8).eval(), torch.randn(2, 8, 6, 7)
    torch.nn.init.zeros_(layer.mask[1][2].weight)
    torch.testing.assert_close(layer(x), layer.last(1.5 * layer.trunk(layer.first(x))))
