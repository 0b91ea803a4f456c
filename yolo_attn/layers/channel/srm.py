"""SRM: style-based recalibration, each channel gated by its own mean and standard deviation.

    m, s = mean and standard deviation over H, W of x                       (B, C) each
    y = x * sigmoid(BN(a * m + b * s))          a, b: one weight each per channel, 0 before training

Paper: Lee et al., "SRM: A Style-Based Recalibration Module for Convolutional Neural Networks", ICCV 2019,
arXiv 1903.10829.
Code: https://github.com/hyunjaelee410/style-based-recalibration-module
Shapes: x (B, C, H, W), y the same; gate (B, C, 1, 1), 1/2 before training.
Deviations: statistics in float32; on a map of 1 x 1 the variance is 0, where the code gives NaN; a single image is
normalised with the running statistics in training (see `BatchNorm`), where the code raises. The authors train a and b
with a learning rate of their own, which Ultralytics' optimizers do not know.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import at_least_one, widen
from yolo_attn.registry import register_layer

__all__ = ["SRM"]

EPS = 1e-5  # added to the variance, so that a constant map has a gradient


@register_layer(
    family="channel",
    summary="weighs each channel by its own mean and standard deviation",
    aliases=("SRMLayer",),
    paper="SRM: A Style-Based Recalibration Module for Convolutional Neural Networks, ICCV 2019",
    year=2019,
    url="https://arxiv.org/abs/1903.10829",
    repository="https://github.com/hyunjaelee410/style-based-recalibration-module",
    cost="O(C HW)",
)
class SRM(Gate):
    """Style-based recalibration.

    Args:
        channels: Channels of the input.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        self.mean_weight = nn.Parameter(torch.zeros(channels))
        self.std_weight = nn.Parameter(torch.zeros(channels))
        self.norm = BatchNorm(channels)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, 1, 1)."""
        values = widen(x)
        mean = values.mean((2, 3), keepdim=True)
        free = at_least_one(x.shape[2] * x.shape[3] - 1)
        std = ((values - mean).square().sum((2, 3)) / free + EPS).sqrt()
        style = self.mean_weight * mean.flatten(1) + self.std_weight * std
        return torch.sigmoid(self.norm(style.to(x.dtype)))[:, :, None, None]
