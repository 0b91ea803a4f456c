"""SAFM: spatially-adaptive feature modulation, a gate from four levels of pooled maps.

    [x_0; x_1; x_2; x_3] = x                    parts of the channels
    l_i = DW_i (maxima of x_i over the cells of a grid of H // 2^i x W // 2^i), resized to H x W
                                                DW_i: depthwise 3 x 3 convolution; nearest
    y = x * gelu(W [l_0; l_1; l_2; l_3])

Paper: Sun et al., "Spatially-Adaptive Feature Modulation for Efficient Image Super-Resolution", ICCV 2023,
arXiv 2302.13800.
Code: https://github.com/sunny2109/SAFMN
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W), of any sign.
Deviations: each grid has at least one cell, where the code requires 8 rows and columns. C need not be a multiple of 4:
the parts differ by at most one channel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_integer
from yolo_attn.layers.numerics import at_least_one, saturate
from yolo_attn.layers.pooling import adaptive_max
from yolo_attn.registry import register_layer

__all__ = ["SAFM"]


@register_layer(
    family="hybrid",
    summary="multiplies every value by a map made of four levels of pooled maxima",
    paper="Spatially-Adaptive Feature Modulation for Efficient Image Super-Resolution, ICCV 2023",
    year=2023,
    url="https://arxiv.org/abs/2302.13800",
    repository="https://github.com/sunny2109/SAFMN",
    cost="O(C^2 HW)",
    renamed={"n_levels": "levels"},
)
class SAFM(Gate):
    """Spatially-adaptive feature modulation.

    Args:
        channels: Channels of the input.
        levels: Number of levels, at most that of the channels.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, levels: int = 4, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, levels=levels)
        levels = min(levels, channels)
        self.widths = [(n + 1) * channels // levels - n * channels // levels for n in range(levels)]
        self.dwconvs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, groups=width) for width in self.widths)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply x by its gate, which has no bound."""
        return saturate(super().forward(x))

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        height, width = x.shape[2:]
        maps = []
        for n, (part, conv) in enumerate(zip(torch.split(x, self.widths, 1), self.dwconvs, strict=True)):
            if n:
                cells = adaptive_max(part, at_least_one(height // 2**n), at_least_one(width // 2**n))
                maps.append(F.interpolate(conv(cells), size=(height, width), mode="nearest"))
            else:
                maps.append(conv(part))
        return F.gelu(self.proj(torch.cat(maps, 1)))
