"""SelfCalibrated: self-calibrated convolution, gated by itself on a coarser map.

    g = sigmoid(x + up(K2 pool(x)))             pool: means of p x p cells; up: nearest neighbor
    y = K4(K3(x) * g)                           K: conv3, then BN

Paper: Liu et al., "Improving Convolutional Networks with Self-Calibrated Convolutions", CVPR 2020.
Code: https://github.com/MCG-NKU/SCNet
Shapes: x (B, C, H, W), y the same; weights(x) (B, C, H, W).
Deviations: no stride; use a Conv row for it. Maps smaller than p have one cell, where the code raises an error. As in
the code, the cells omit the last rows and columns of a map whose size is not a multiple of p. In SCNet it has half of a
block's channels, next to a plain convolution of the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import GATE, AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import at_least_one
from yolo_attn.registry import register_layer

__all__ = ["SelfCalibrated"]


@register_layer(
    family="hybrid",
    summary="two 3 x 3 convolutions with a gate between them from a third one on a coarser map",
    aliases=("SCConv",),
    paper="Improving Convolutional Networks with Self-Calibrated Convolutions, CVPR 2020",
    year=2020,
    url="https://openaccess.thecvf.com/content_CVPR_2020/html/Liu_Improving_Convolutional_Networks_With_Self-Calibrated_Convolutions_CVPR_2020_paper.html",
    repository="https://github.com/MCG-NKU/SCNet",
    cost="O(19 C^2 HW)",
    renamed={"pooling_r": "pool"},
)
class SelfCalibrated(Mixer):
    """Self-calibrated convolution.

    Args:
        channels: Channels of the input.
        pool: p, height and width of the cells that the gate is computed from.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, pool: int = 4, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, pool=pool)
        self.pool = pool
        self.context = _conv(channels)
        self.features = _conv(channels)
        self.proj = _conv(channels)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the gate."""
        return [AttentionValues("", GATE, self.weights(inputs[0])[0].float())]

    def weights(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        height, width = x.shape[2:]
        cells = F.avg_pool2d(x, self.pool, ceil_mode=True, count_include_pad=False)
        complete = cells[:, :, : at_least_one(height // self.pool), : at_least_one(width // self.pool)]
        return torch.sigmoid(x + F.interpolate(self.context(complete), size=(height, width), mode="nearest"))

    def mix(self, x: Tensor) -> Tensor:
        """Return the convolution of the gated features."""
        y: Tensor = self.proj(self.features(x) * self.weights(x))
        return y


def _conv(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), BatchNorm(channels))
