"""Combination of the two products of SCSE."""

from __future__ import annotations

import torch

from yolo_attn.layers import SCSE


def test_products_are_combined_by_maximum_or_sum() -> None:
    x = torch.randn(2, 8, 5, 6)
    for combine in ("max", "sum"):
        layer = SCSE(8, combine=combine)
        hidden = torch.relu(layer.fc1(x.mean((2, 3))))
        by_channel = x * torch.sigmoid(layer.fc2(hidden))[:, :, None, None]
        by_position = x * torch.sigmoid(layer.spatial(x))
        expected = torch.maximum(by_channel, by_position) if combine == "max" else by_channel + by_position
        torch.testing.assert_close(layer(x), expected)
