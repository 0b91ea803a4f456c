"""MCA: multidimensional collaborative attention, the mean of gates along channels, rows and columns.

    for each axis: m, s = mean and standard deviation over the other two axes
    t = (1/2 + sigmoid(p)) m + (1/2 + sigmoid(q)) s                         p, q: two learned scalars
    g = sigmoid(conv_k(t))                      a single kernel of k weights along the axis, zero padding
    y = x * (g_channels + g_rows + g_columns) / 3

Paper: Yu et al., "MCA: Multidimensional Collaborative Attention in Deep Convolutional Neural Networks for Image
Recognition", Engineering Applications of Artificial Intelligence 126, 2023.
Code: https://github.com/ndsclark/MCANet
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W). 17 weights at C = 256.
Deviations: statistics are in float32. The standard deviation of a single value is 0, where the authors' code gives NaN.
With 2 channels k is 1, where the code computes -1.
"""

from __future__ import annotations

from math import log2

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_odd
from yolo_attn.layers.numerics import at_least_one, widen
from yolo_attn.registry import register_layer

__all__ = ["MCA"]


@register_layer(
    family="hybrid",
    summary="reweights channels, rows and columns, each by its mean and standard deviation",
    aliases=("MCALayer",),
    paper="MCA: Multidimensional Collaborative Attention in Deep Convolutional Neural Networks for Image Recognition, "
    "Engineering Applications of Artificial Intelligence 2023",
    year=2023,
    url="https://doi.org/10.1016/j.engappai.2023.107079",
    repository="https://github.com/ndsclark/MCANet",
    cost="O(C HW)",
)
class MCA(Gate):
    """Multidimensional collaborative attention.

    Args:
        channels: Channels of the input.
        kernel_size: k along rows and columns, odd.
        channel_kernel_size: k along the channels, odd; None selects the paper's k(C): 1 up to 26 channels, 3 up to 215,
            then 5.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 3,
        channel_kernel_size: int | None = None,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        if channel_kernel_size is None:
            channel_kernel_size = _paper_kernel(channels)
        check_odd(self, kernel_size=kernel_size, channel_kernel_size=channel_kernel_size)
        self.channel = _AxisGate(1, channel_kernel_size)
        self.rows = _AxisGate(2, kernel_size)
        self.columns = _AxisGate(3, kernel_size)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        gate: Tensor = (self.channel(x) + self.rows(x) + self.columns(x)) / 3
        return gate


class _AxisGate(nn.Module):
    """The gate along one axis.

    Args:
        axis: 1 for channels, 2 for rows, 3 for columns.
        kernel: k, odd.
    """

    def __init__(self, axis: int, kernel: int) -> None:
        super().__init__()
        self.others = [other for other in (1, 2, 3) if other != axis]
        self.blend = nn.Parameter(torch.rand(2))
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gate, of size 1 along the other axes."""
        mean, std = self._statistics(widen(x))
        blend = 0.5 + torch.sigmoid(self.blend)
        mixed = (blend[0] * mean + blend[1] * std).to(x.dtype)
        return torch.sigmoid(self.conv(mixed.flatten(1)[:, None])).reshape(mixed.shape)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation over the other axes, with a lower bound that keeps the gradient finite."""
        mean = x.mean(self.others, keepdim=True)
        free = at_least_one(x.shape[self.others[0]] * x.shape[self.others[1]] - 1)
        variance = (x - mean).square().sum(self.others, keepdim=True) / free
        return mean, variance.clamp(min=1e-12).sqrt()


def _paper_kernel(channels: int) -> int:
    """Return k(C) of the paper, with its constants lambda = 1.5 and gamma = 1."""
    k = round(abs(log2(channels) - 1) / 1.5)
    return max(1, k if k % 2 else k - 1)
