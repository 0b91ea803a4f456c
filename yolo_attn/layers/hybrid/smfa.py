"""SMFA: self-modulation feature aggregation, features gated by a pooled map plus a branch of local details.

    [y; u] = W x                                C channels each, at each position
    s = DW (maxima of u over the cells of a grid of H // 8 x W // 8)        DW: depthwise 3 x 3 convolution
    v = variance of u over H, W                 unbiased
    m = gelu(W1 (a s + b v)), resized to H x W  nearest; a, b: learned for each channel
    out = W2 (u * m + W4 gelu(W3 DW' y))        DW': depthwise 3 x 3 convolution to 2 C channels

Paper: Zheng et al., "SMFANet: A Lightweight Self-Modulation Feature Aggregation Network for Efficient Image
Super-Resolution", ECCV 2024.
Code: https://github.com/Zheng-MJ/SMFANet
Shapes: x (B, C, H, W), y the same.
Deviations: the grid has at least one cell, where the code requires 8 rows and columns, and the variance of a single
position is 0 instead of NaN. The variance is computed in float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer
from yolo_attn.layers.numerics import at_least_one, saturate, widen
from yolo_attn.layers.pooling import adaptive_max
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["SMFA"]


@register_layer(
    family="hybrid",
    summary="multiplies features by a pooled map of their maxima and variance, and adds local details",
    paper="SMFANet: A Lightweight Self-Modulation Feature Aggregation Network for Efficient Image Super-Resolution, "
    "ECCV 2024",
    year=2024,
    url="https://eccv2024.ecva.net/virtual/2024/poster/309",
    repository="https://github.com/Zheng-MJ/SMFANet",
    cost="O(C^2 HW)",
    renamed={"down_scale": "pool"},
)
class SMFA(Mixer):
    """Self-modulation feature aggregation.

    Args:
        channels: Channels of the input.
        pool: Height and width of the cells whose maxima are taken.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, pool: int = 8, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, pool=pool)
        self.pool = pool
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.max_scale = nn.Parameter(torch.ones(channels))
        self.variance_scale = nn.Parameter(torch.zeros(channels))
        self.modulator = nn.Conv2d(channels, channels, 1)
        self.details = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 3, padding=1, groups=channels),
            nn.Conv2d(2 * channels, 2 * channels, 1),
            nn.GELU(),
            nn.Conv2d(2 * channels, channels, 1),
        )
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the modulated features plus the details, projected."""
        features, modulated = self.expand(x).chunk(2, 1)
        details = self.details[2:](saturate(self.details[:2](features)))  # gelu of minus infinity is NaN
        return saturate(self.proj(saturate(saturate(modulated * self._modulator(modulated)) + details)))

    def _modulator(self, u: Tensor) -> Tensor:
        """Return m, (B, C, H, W)."""
        height, width = u.shape[2:]
        pooled = adaptive_max(u, at_least_one(height // self.pool), at_least_one(width // self.pool))
        scales = (scale[:, None, None] for scale in (self.max_scale, self.variance_scale))
        of_max, of_variance = scales
        statistics = self.dwconv(pooled) * of_max + _variance(u) * of_variance
        m = F.gelu(saturate(self.modulator(saturate(statistics, u.dtype).to(u.dtype))))
        return F.interpolate(m, size=(height, width), mode="nearest")


def _variance(x: Tensor) -> Tensor:
    """Return the unbiased variance over the map, (B, C, 1, 1), in at least float32; 0 for a single position."""
    x = widen(x)
    count = x.shape[2] * x.shape[3]
    centered = x - mean(x, 2, 3, keepdim=True)
    return centered.square().sum((2, 3), keepdim=True) / at_least_one(count - 1)
