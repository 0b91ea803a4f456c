"""ParNet: a convolution block whose skip branch is gated (skip-squeeze-and-excitation).

    u = BN(x)
    y = silu(BN(conv3(x)) + BN(conv1(x)) + u * sigmoid(W mean over H, W of u))            W (C, C); all without bias

Paper: Goyal et al., "Non-deep Networks", NeurIPS 2022, arXiv 2110.07641.
Code: https://github.com/imankgoyal/NonDeepNetworks
Shapes: x (B, C, H, W), y the same. 11 C^2 weights, 0.7 million at C = 256.
Deviations: none. Third-party copies omit the batch norm of the skip branch and add biases to the convolutions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["ParNet"]


@register_layer(
    family="channel",
    summary="sums a 3 x 3 convolution, a 1 x 1 convolution and a skip branch gated per channel",
    aliases=("ParNetAttention",),
    paper="Non-deep Networks, NeurIPS 2022",
    year=2022,
    url="https://arxiv.org/abs/2110.07641",
    repository="https://github.com/imankgoyal/NonDeepNetworks",
    cost="O(C^2 HW)",
)
class ParNet(Mixer):
    """ParNet block.

    Args:
        channels: Channels of the input.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        self.conv3x3 = _conv(channels, 3)
        self.conv1x1 = _conv(channels, 1)
        self.norm = BatchNorm(channels)
        self.fc = nn.Linear(channels, channels, bias=False)

    def mix(self, x: Tensor) -> Tensor:
        """Return the activated sum of the three branches."""
        skip = self.norm(x)
        gate = torch.sigmoid(self.fc(mean(skip, 2, 3)))[..., None, None]
        return F.silu(self.conv3x3(x) + self.conv1x1(x) + skip * gate)


def _conv(channels: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, BatchNorm(channels))
