"""Branches of ParNet."""

from __future__ import annotations

import torch

from yolo_attn.layers import ParNet


def test_zero_convolutions_leave_the_gated_skip() -> None:
    torch.manual_seed(0)
    layer, x = ParNet(8).eval(), torch.randn(2, 8, 5, 6)
    for branch in (layer.conv3x3, layer.conv1x1):
        torch.nn.init.zeros_(branch[0].weight)
    u = layer.norm(x)
    gate = (u.mean((2, 3)) @ layer.fc.weight.T).sigmoid()
    torch.testing.assert_close(layer(x), torch.nn.functional.silu(u * gate[..., None, None]))


def test_has_the_published_size() -> None:
    assert sum(p.numel() for p in ParNet(256).parameters()) == 722_432
