"""Axis gates of MCA."""

from __future__ import annotations

import pytest
import torch

from yolo_attn.layers import MCA


@pytest.mark.parametrize(
    ("channels", "kernel"), [(2, 1), (8, 1), (16, 1), (26, 1), (27, 3), (128, 3), (215, 3), (216, 5), (1024, 5)]
)
def test_default_channel_kernel_size_by_channels(channels: int, kernel: int) -> None:
    assert MCA(channels).channel.conv.kernel_size == (kernel,)


def test_transposing_the_map_swaps_row_and_column_gates() -> None:
    torch.manual_seed(0)
    layer, swapped, x = MCA(16), MCA(16), torch.randn(2, 16, 5, 6)
    swapped.load_state_dict(layer.state_dict())
    swapped.rows.load_state_dict(layer.columns.state_dict())
    swapped.columns.load_state_dict(layer.rows.state_dict())
    torch.testing.assert_close(swapped(x.transpose(2, 3)), layer(x).transpose(2, 3))


def test_axis_gate_depends_on_mean_and_standard_deviation() -> None:
    torch.manual_seed(0)
    rows, x = MCA(16, kernel_size=1).rows, torch.randn(2, 16, 5, 6)
    shares = 0.5 + rows.blend.sigmoid()
    mixed = shares[0] * x.mean((1, 3)) + shares[1] * x.transpose(1, 2).flatten(2).std(2)
    torch.testing.assert_close(rows(x)[:, 0, :, 0], (rows.conv.weight[0, 0] * mixed).sigmoid())
