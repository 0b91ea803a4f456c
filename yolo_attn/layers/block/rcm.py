"""RCM: rectangular self-calibration module, a residual block of RCA and an MLP.

    y = x + s W2 gelu(W1 BN(RCA x))             W1 from C to e C channels; s: one number per channel; see RCA

Paper: Ni et al., "Context-Guided Spatial Feature Reconstruction for Efficient Semantic Segmentation", ECCV 2024,
arXiv 2405.06228.
Code: https://github.com/nizhenliang/CGRSeg
Shapes: x (B, C, H, W), y the same.
Deviations: those of RCA. With init=identity s is 0 instead of the published 1e-6, with which y is only nearly x.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer, check_odd, check_positive
from yolo_attn.layers.hybrid.rca import RCA
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import saturate
from yolo_attn.registry import register_layer

__all__ = ["RCM"]

SCALE = 1e-6
"""Published initial value of s."""


@register_layer(
    family="block",
    summary="a residual block of a depthwise convolution gated by bands of row and column means, and an MLP",
    aliases=("RectangularSelfCalibrationModule",),
    paper="Context-Guided Spatial Feature Reconstruction for Efficient Semantic Segmentation, ECCV 2024",
    year=2024,
    url="https://arxiv.org/abs/2405.06228",
    repository="https://github.com/nizhenliang/CGRSeg",
    cost="O(4 C^2 HW)",
    identity="s of the branch 0",
    renamed={"square_kernel_size": "kernel_size", "ratio": "reduction", "mlp_ratio": "expansion"},
)
class RCM(Mixer):
    """Rectangular self-calibration module.

    Args:
        channels: Channels of the input.
        kernel_size: k of RCA, odd.
        band_kernel_size: b of RCA, odd; the authors also use 9.
        reduction: r of RCA, channels per hidden channel of the bands, reduced to its greatest common divisor with C.
        expansion: e, hidden channels of the MLP per channel.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    identity_at_init = True  # s, which is zero with init="identity"

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 3,
        band_kernel_size: int = 11,
        reduction: int = 1,
        expansion: float = 2,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_odd(self, kernel_size=kernel_size, band_kernel_size=band_kernel_size)
        check_integer(self, reduction=reduction)
        check_positive(self, expansion=expansion)
        hidden = max(1, int(expansion * channels))
        self.rca = RCA(channels, kernel_size=kernel_size, band_kernel_size=band_kernel_size, reduction=reduction)
        self.norm = BatchNorm(channels)
        self.mlp = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.GELU(), nn.Conv2d(hidden, channels, 1))
        self.scale = nn.Parameter(torch.full((channels,), 0.0 if init == "identity" else SCALE))

    def mix(self, x: Tensor) -> Tensor:
        """Return x plus the scaled branch."""
        branch = self.mlp(self.norm(self.rca(x)))
        return saturate(x + self.scale[:, None, None] * branch, x.dtype)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the gate of RCA."""
        return self.rca.attention_maps(inputs)
