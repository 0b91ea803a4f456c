"""Batch norm over positions of NAMSpatial."""

from __future__ import annotations

import torch
from torch import nn

from yolo_attn.layers import NAMSpatial


def test_equals_a_batch_norm_over_positions_at_the_grid_size() -> None:
    torch.manual_seed(0)
    layer, norm = NAMSpatial(8, grid_size=4), nn.BatchNorm1d(16)
    nn.init.uniform_(layer.norm.weight, -1, 1)
    norm.load_state_dict(layer.norm.state_dict())
    for _ in range(3):
        x = torch.randn(2, 8, 4, 4) + 1
        normed = norm(x.reshape(16, 16)).view_as(x)  # images and channels are the batch, positions the channels
        share = norm.weight.abs() / norm.weight.abs().sum()
        torch.testing.assert_close(layer(x), x * torch.sigmoid(share.view(4, 4) * normed))
    for name, value in norm.state_dict().items():
        torch.testing.assert_close(layer.norm.state_dict()[name], value)


def test_other_map_sizes_update_the_grid_statistics() -> None:
    torch.manual_seed(0)
    layer = NAMSpatial(8, grid_size=4)
    for _ in range(100):
        layer(3 * torch.randn(4, 8, 11, 6) + 2)
    assert (layer.norm.running_mean - 2).abs().max() < 1
    assert (layer.norm.running_var - 9).abs().max() < 3
