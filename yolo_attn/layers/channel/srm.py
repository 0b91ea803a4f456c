"""SRM: style-based recalibration, a gate for each channel from its own mean and standard deviation.

    m, s = mean and standard deviation over H, W of x                       (B, C) each
    y = x * sigmoid(BN(a * m + b * s))          a, b: a weight per channel each, initially 0

Paper: Lee et al., "SRM: A Style-Based Recalibration Module for Convolutional Neural Networks", ICCV 2019,
arXiv 1903.10829.
Code: https://github.com/hyunjaelee410/style-based-recalibration-module
Shapes: x (B, C, H, W), y the same; gate (B, C, 1, 1), initially 1/2.
Deviations: statistics are in float32. On a 1 x 1 map the variance is 0, where the authors' code gives NaN. In training
a single image is normalized with the running statistics (see `BatchNorm`), where the code raises an error. The authors
train a and b with a separate learning rate, which Ultralytics' optimizers do not support.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import at_least_one, widen
from yolo_attn.registry import register_layer

__all__ = ["SRM"]

EPS = 1e-5  # added to the variance to give a constant map a finite gradient


@register_layer(
    family="channel",
    summary="reweights channels by their own mean and standard deviation",
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
