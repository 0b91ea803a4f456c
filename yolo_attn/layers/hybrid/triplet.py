"""Triplet: the mean of three gates over the axes (H, W), (C, H) and (C, W), each pooled along the third axis.

    g_a = sigmoid(BN(conv_k([max over a of x; mean over a of x])))          a: C, W, H; conv 2 -> 1, without bias
    y = x * (g_C + g_W + g_H) / 3

Paper: Misra et al., "Rotate to Attend: Convolutional Triplet Attention Module", WACV 2021, arXiv 2010.03045.
Code: https://github.com/landskape-ai/triplet-attention
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W), a mean of (B, 1, H, W), (B, C, H, 1) and (B, C, 1, W). The
convolutions over (C, H) and (C, W) treat channels with consecutive indices as neighbors.
Deviations: none. The gates are averaged instead of the gated maps, which is equivalent and copies no rotated map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_flag, check_odd
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.projections import few_channels
from yolo_attn.layers.statistics import mean_and_max
from yolo_attn.registry import register_layer

__all__ = ["Triplet"]


@register_layer(
    family="hybrid",
    summary="averages three gates, one for each pair of the axes C, H and W",
    aliases=("TripletAttention",),
    paper="Rotate to Attend: Convolutional Triplet Attention Module, WACV 2021",
    year=2021,
    url="https://arxiv.org/abs/2010.03045",
    repository="https://github.com/landskape-ai/triplet-attention",
    cost="O(C HW + k^2 (HW + CH + CW))",
)
class Triplet(Gate):
    """Triplet attention.

    Args:
        channels: Channels of the input.
        kernel_size: k, odd.
        no_spatial: Whether to omit the gate over (H, W).
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, kernel_size: int = 7, no_spatial: bool = False, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, no_spatial=no_spatial)
        self.channel_width = _plane(kernel_size)
        self.height_channel = _plane(kernel_size)
        self.height_width = None if no_spatial else _plane(kernel_size)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        columns = torch.sigmoid(self.channel_width(_pool(x, 2))).transpose(1, 2)  # (B, C, 1, W)
        rows = torch.sigmoid(self.height_channel(_pool(x, 3).transpose(2, 3))).permute(0, 3, 2, 1)  # (B, C, H, 1)
        if self.height_width is None:
            return (rows + columns) / 2
        positions = torch.sigmoid(self.height_width(_pool(x, 1)))
        return (rows + columns + positions) / 3


def _plane(kernel_size: int) -> nn.Sequential:
    conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
    return nn.Sequential(conv, BatchNorm(1, momentum=0.01))


def _pool(x: Tensor, axis: int) -> Tensor:
    """Return maximum and mean along an axis of (B, C, H, W), stacked as two channels of the other axes."""
    mean, most = mean_and_max(x, axis)
    return few_channels(torch.stack([most.squeeze(axis), mean.squeeze(axis)], 1))
