"""RCA: rectangular self-calibration attention, a depthwise convolution gated by bands of row and column means.

    q = (mean over W of x) + (mean over H of x)                             (B, C, H, W)
    a = sigmoid(conv b x 1 of relu(BN(conv 1 x b of q)))                    each from and to groups of r channels
    y = a * DW x                                DW: depthwise k x k convolution

Paper: Ni et al., "Context-Guided Spatial Feature Reconstruction for Efficient Semantic Segmentation", ECCV 2024,
arXiv 2405.06228.
Code: https://github.com/nizhenliang/CGRSeg
Shapes: x (B, C, H, W), y the same; weights(x) (B, C, H, W), between 0 and 1.
RCM is the authors' block with RCA.
Deviations: k is odd; the code's default of 2, which its own networks do not use, changes the size of the map and raises
an error. r is reduced to its greatest common divisor with C; in many copies it is 2. The code has further arguments
without effect, and a bias before the batch norm, which cancels it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import AttentionValues, gate_values
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer, check_odd
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["RCA"]


@register_layer(
    family="hybrid",
    summary="gates a depthwise convolution by horizontal and vertical bands of row and column means",
    aliases=("RectangularSelfCalibrationAttention",),
    paper="Context-Guided Spatial Feature Reconstruction for Efficient Semantic Segmentation, ECCV 2024",
    year=2024,
    url="https://arxiv.org/abs/2405.06228",
    repository="https://github.com/nizhenliang/CGRSeg",
    cost="O(C HW)",
    renamed={"square_kernel_size": "kernel_size", "ratio": "reduction"},
)
class RCA(Mixer):
    """Rectangular self-calibration attention.

    Args:
        channels: Channels of the input.
        kernel_size: k, of the gated convolution, odd.
        band_kernel_size: b, length of the bands, odd; the authors also use 9.
        reduction: r, channels per hidden channel of the bands, reduced to its greatest common divisor with C.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 3,
        band_kernel_size: int = 11,
        reduction: int = 1,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_odd(self, kernel_size=kernel_size, band_kernel_size=band_kernel_size)
        check_integer(self, reduction=reduction)
        hidden, pad = channels // fitting_groups(channels, reduction), band_kernel_size // 2
        self.dwconv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.bands = nn.Sequential(
            nn.Conv2d(channels, hidden, (1, band_kernel_size), padding=(0, pad), groups=hidden, bias=False),
            BatchNorm(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, (band_kernel_size, 1), padding=(pad, 0), groups=hidden),
        )

    def mix(self, x: Tensor) -> Tensor:
        """Return the gated convolution."""
        y: Tensor = self.weights(x) * self.dwconv(x)
        return y

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the gate of the convolution."""
        return [gate_values(self.weights(inputs[0]), inputs[0])]

    def weights(self, x: Tensor) -> Tensor:
        """Return a, (B, C, H, W)."""
        return torch.sigmoid(self.bands(mean(x, 3, keepdim=True) + mean(x, 2, keepdim=True)))
