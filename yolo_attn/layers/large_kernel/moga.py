"""Moga: multi-order gated aggregation, features of three dilated convolutions and a gate, of MogaNet.

    u = silu(u' + s (u' - mean of u')), u' = W1 x       s: learned for each channel; mean over H, W
    [a_0; a_1; a_2] = DW5 u                     C/8, 3C/8 and C/2 channels; DWk: depthwise k x k convolution
    v = Wp [a_0; DW5 a_1; DW7 a_2]              with dilations 2 and 3
    y = x + W2 (silu(Wg u) * silu(v))

Paper: Li et al., "MogaNet: Multi-order Gated Aggregation Network", ICLR 2024, arXiv 2211.03295.
Code: https://github.com/Westlake-AI/MogaNet
Shapes: x (B, C, H, W), y the same.
Deviations: C need not be a multiple of 8: a_1 and a_2 are rounded down. The code's option for float32 applies silu
twice, which is another function; here products are limited to the range of float16.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.large_kernel._large_kernel import depthwise
from yolo_attn.layers.numerics import saturate
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["Moga"]

SCALE = 1e-5
"""Initial value of s."""


@register_layer(
    family="large_kernel",
    summary="multiplies features of depthwise convolutions with three dilations by a gate, and adds the input",
    aliases=("MultiOrderGatedAggregation",),
    paper="MogaNet: Multi-order Gated Aggregation Network, ICLR 2024",
    year=2022,
    url="https://arxiv.org/abs/2211.03295",
    repository="https://github.com/Westlake-AI/MogaNet",
    cost="O(C^2 HW)",
)
class Moga(Mixer):
    """Multi-order gated aggregation.

    Args:
        channels: Channels of the input.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        middle, last = 3 * channels // 8, channels // 2
        self.widths = [channels - middle - last, middle, last]
        self.expand = nn.Conv2d(channels, channels, 1)
        self.scale = nn.Parameter(torch.full((channels,), SCALE))
        self.gate = nn.Conv2d(channels, channels, 1)
        self.conv = depthwise(channels, 5, 5)
        self.middle_conv = depthwise(middle, 5, 5, 2) if middle else nn.Identity()
        self.last_conv = depthwise(last, 7, 7, 3) if last else nn.Identity()
        self.value = nn.Conv2d(channels, channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return x plus the gated features."""
        u = self.expand(x)
        change = u - mean(u, 2, 3, keepdim=True)
        u = F.silu(saturate(u + (self.scale[:, None, None] * change).to(u.dtype)))
        first, middle, last = torch.split(self.conv(u), self.widths, 1)
        value = self.value(torch.cat([first, self.middle_conv(middle), self.last_conv(last)], 1))
        y: Tensor = x + self.proj(saturate(F.silu(saturate(self.gate(u))) * F.silu(saturate(value))))
        return y
