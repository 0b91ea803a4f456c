"""DSM: dual-domain selection, which weakens or amplifies local details and deviations from the mean of each channel.

    m = conv 3 x 3 of [max over C of x; mean over C of x]                   (B, 1, H, W)
    z = m DW7(DW5(x)) + DW3(x)                  depthwise k x k convolutions; DW5 with dilation 2, DW7 with dilation 3
    l = z (a1 (z - mean over H, W of z) + b1)   initially a1 = 0, b1 = 1
    y = a2 l + b2 x                             initially a2 = 0, b2 = 1; a, b: one number per channel each

Paper: Cui et al., "Focal Network for Image Restoration", ICCV 2023.
Code: https://github.com/c-yn/FocalNet
Shapes: x (B, C, H, W), y the same; m has any size and sign.
Deviations: products are in float32, because l grows with the fourth power of x; the authors' code gives NaN in float16.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import GATE, AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.numerics import saturate, widen
from yolo_attn.layers.statistics import mean, mean_and_max
from yolo_attn.registry import register_layer

__all__ = ["DSM"]


@register_layer(
    family="hybrid",
    summary="selects details by a map of their positions, then by their distance from the channel's mean",
    aliases=("DualDomainSelectionMechanism",),
    paper="Focal Network for Image Restoration, ICCV 2023",
    year=2023,
    url="https://openaccess.thecvf.com/content/ICCV2023/html/Cui_Focal_Network_for_Image_Restoration_ICCV_2023_paper.html",
    repository="https://github.com/c-yn/FocalNet",
    cost="O(C HW)",
    identity="published: a2 0, b2 1",
)
class DSM(Mixer):
    """Dual-domain selection; the identity with either initialization.

    Args:
        channels: Channels of the input.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    identity_at_init = True

    def __init__(self, channels: int, *, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        self.spatial = SpatialSelection(channels)
        self.deviation_scale = nn.Parameter(torch.zeros(channels))  # a1
        self.detail_scale = nn.Parameter(torch.ones(channels))  # b1
        self.scale = nn.Parameter(torch.zeros(channels))  # a2
        self.skip_scale = nn.Parameter(torch.ones(channels))  # b2

    def mix(self, x: Tensor) -> Tensor:
        """Return the selected details plus x."""
        z = self.spatial(x)
        deviation, detail, scale, skip = (
            widen(parameter)[:, None, None]
            for parameter in (self.deviation_scale, self.detail_scale, self.scale, self.skip_scale)
        )
        selected = z * (deviation * (z - mean(z, 2, 3, keepdim=True)) + detail)
        return saturate(scale * selected + skip * x, x.dtype)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return m, which multiplies the details of a wide neighborhood."""
        return [AttentionValues("", GATE, self.spatial.mask(inputs[0])[0, 0].float())]


class SpatialSelection(nn.Module):
    """The details z.

    Args:
        channels: Channels of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1)
        self.wide = nn.Sequential(
            nn.Conv2d(channels, channels, 5, padding=4, dilation=2, groups=channels),
            nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels),
        )
        self.near = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return z, (B, C, H, W), in at least float32."""
        z: Tensor = widen(self.mask(x)) * self.wide(x) + self.near(x)
        return z

    def mask(self, x: Tensor) -> Tensor:
        """Return m, (B, 1, H, W)."""
        average, most = mean_and_max(x, 1)
        m: Tensor = self.conv(torch.cat([most, average], 1))
        return m
