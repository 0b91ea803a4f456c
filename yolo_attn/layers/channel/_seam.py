"""Parts of SEAM and MultiSEAM: convolutions that describe a map, and a gate that only amplifies.

u = d + BN(gelu(DW d))                      DW: depthwise 3 x 3 convolution
d' = BN(gelu(W u))                          one of n steps, from d = x

g = exp(sigmoid(W2 relu(W1 s)))             between 1 and e; W1 (C/r, C), W2 (C, C/r), without bias
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.sizes import hidden_width

__all__ = ["Amplifier", "Description"]


class Description(nn.Module):
    """One step of the description: a depthwise convolution with a shortcut, and a pointwise one.

    Args:
        channels: Channels of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.depthwise_norm = BatchNorm(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.norm = BatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return d', of the shape of x."""
        mixed = x + self.depthwise_norm(F.gelu(self.dwconv(x)))
        y: Tensor = self.norm(F.gelu(self.pointwise(mixed)))
        return y


class Amplifier(nn.Module):
    """A bottleneck whose output is a gate between 1 and e.

    Args:
        channels: Channels of the map.
        reduction: r, channels per hidden unit.
    """

    def __init__(self, channels: int, reduction: float) -> None:
        super().__init__()
        hidden = hidden_width(channels, reduction)
        self.fc1 = nn.Linear(channels, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, channels, bias=False)

    def forward(self, means: Tensor) -> Tensor:
        """Return the gate (B, C, 1, 1) of means (B, C)."""
        return torch.sigmoid(self.fc2(torch.relu(self.fc1(means)))).exp()[:, :, None, None]
