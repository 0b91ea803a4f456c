"""StripPooling: a gate computed from row means and column means.

    h = BN(conv 3 x 1 of mean over W of x)      (B, C, H, 1)
    v = BN(conv 1 x 3 of mean over H of x)      (B, C, 1, W)
    y = x * sigmoid(W3 relu(h + v))

Paper: Hou et al., "Strip Pooling: Rethinking Spatial Pooling for Scene Parsing", CVPR 2020, arXiv 2003.13328.
Code: https://github.com/houqb/SPNet (SPBlock)
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W).
Deviations: none. The authors' module returns only the gate and leaves the product to its caller.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["StripPooling"]


@register_layer(
    family="spatial",
    summary="reweights every value by the means of its row and column",
    aliases=("SPBlock",),
    paper="Strip Pooling: Rethinking Spatial Pooling for Scene Parsing, CVPR 2020",
    year=2020,
    url="https://arxiv.org/abs/2003.13328",
    repository="https://github.com/houqb/SPNet",
    cost="O(C^2 HW)",
)
class StripPooling(Gate):
    """Strip pooling.

    Args:
        channels: Channels of the input.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        self.rows = nn.Sequential(
            nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), bias=False), BatchNorm(channels)
        )
        self.columns = nn.Sequential(
            nn.Conv2d(channels, channels, (1, 3), padding=(0, 1), bias=False), BatchNorm(channels)
        )
        self.proj = nn.Conv2d(channels, channels, 1)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        rows, columns = self.rows(mean(x, 3, keepdim=True)), self.columns(mean(x, 2, keepdim=True))
        return torch.sigmoid(self.proj(torch.relu(rows + columns)))
