"""ELA: efficient local attention, row and column gates from 1D convolutions along the axes.

    zr = mean over W of x                       (B, C, H)
    zc = mean over H of x                       (B, C, W)
    y = x * sigmoid(GN(conv_k(zr))) * sigmoid(GN(conv_k(zc)))

Both axes share the convolution, which has no bias, and the group norm. The paper's sizes:

    variant  k  channels per group of the convolution  groups of the norm
    T        5  1                                      32
    B        7  1                                      16
    S        5  8                                      16
    L        7  8                                      16

Paper: Xu and Wan, "ELA: Efficient Local Attention for Deep Convolutional Neural Networks", 2024, arXiv 2403.01123.
Code: none from the authors.
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W), a product of (B, C, H, 1) and (B, C, 1, W).
Deviations: group counts are reduced to the greatest common divisor with the channels, where published code raises an
error.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_choice
from yolo_attn.layers.norms import GroupNorm
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["ELA"]

VARIANTS = {"T": (5, 1, 32), "B": (7, 1, 16), "S": (5, 8, 16), "L": (7, 8, 16)}
"""Kernel size, channels per group of the convolution, groups of the norm."""


@register_layer(
    family="hybrid",
    summary="reweights each channel's rows and columns by 1D convolutions along the axes",
    aliases=("EfficientLocalizationAttention",),
    paper="ELA: Efficient Local Attention for Deep Convolutional Neural Networks, 2024",
    year=2024,
    url="https://arxiv.org/abs/2403.01123",
    cost="O(C HW)",
)
class ELA(Gate):
    """Efficient local attention.

    Args:
        channels: Channels of the input.
        variant: "T", "B", "S" or "L", see above; S and L mix channels and have the most parameters.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, variant: str = "B", init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_choice(self, "variant", variant, VARIANTS)
        kernel, per_group, norm_groups = VARIANTS[variant]
        groups = fitting_groups(channels, max(1, channels // per_group))
        self.conv = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=groups, bias=False)
        self.norm = GroupNorm(fitting_groups(channels, norm_groups), channels)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        rows, columns = self.gates(x)
        return rows * columns

    def gates(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the gates of the rows (B, C, H, 1) and of the columns (B, C, 1, W)."""
        rows, columns = self._along(mean(x, 3))[..., None], self._along(mean(x, 2))[:, :, None]
        return rows.to(x.dtype), columns.to(x.dtype)

    def _along(self, means: Tensor) -> Tensor:
        """Return the gate of each position along one axis, (B, C, length)."""
        return torch.sigmoid(self.norm(self.conv(means)))
