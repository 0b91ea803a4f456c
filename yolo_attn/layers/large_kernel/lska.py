"""LSKA: large separable kernel attention, LKA with each kernel split into a row and a column.

    a = W v2(h2(v1(h1(x))))                     h1, v1: 1 x k1, k1 x 1; h2, v2: 1 x k2, k2 x 1 with dilation d
    y = x * a                                   or y = x + W2 (h * a(h)), h = gelu(W1 x), with `project`

Paper: Lau et al., "Large Separable Kernel Attention: Rethinking the Large Kernel Attention Design in CNN", Expert
Systems with Applications 2024, arXiv 2309.01439.
Code: https://github.com/StevenLauHKHK/Large-Separable-Kernel-Attention
Shapes: x (B, C, H, W), y the same; weights(x) (B, C, H, W), of any size and sign.
Deviations: weights have PyTorch's initialization; the authors' network initializes them with variance 2 / fan out.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolo_attn.layers.checks import check_choice
from yolo_attn.layers.large_kernel._large_kernel import LargeKernel, depthwise
from yolo_attn.registry import register_layer

__all__ = ["LSKA"]

KERNELS = {7: (3, 3, 2), 11: (3, 5, 2), 23: (5, 7, 3), 35: (5, 11, 3), 41: (5, 13, 3), 53: (5, 17, 3)}
"""Nominal kernel size -> k1, k2, d."""


@register_layer(
    family="large_kernel",
    summary="multiplies by a map with a receptive field of up to 53 x 53, computed by depthwise rows and columns",
    aliases=("LargeSeparableKernelAttention",),
    paper="Large Separable Kernel Attention, Expert Systems with Applications 2024",
    year=2023,
    url="https://arxiv.org/abs/2309.01439",
    repository="https://github.com/StevenLauHKHK/Large-Separable-Kernel-Attention",
    cost="O(C^2 HW)",
    renamed={"k_size": "kernel_size"},
)
class LSKA(LargeKernel):
    """Large separable kernel attention.

    Args:
        channels: Channels of the input.
        kernel_size: Nominal kernel size: 7, 11, 23, 35, 41 or 53.
        project: Whether the layer is placed between two 1 x 1 convolutions with a shortcut, as in the authors' network.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, kernel_size: int = 23, project: bool = False, init: str = "paper") -> None:
        super().__init__(channels, project=project, init=init)
        check_choice(self, "kernel_size", kernel_size, KERNELS)
        near, far, dilation = KERNELS[kernel_size]
        self.near = nn.Sequential(depthwise(channels, 1, near), depthwise(channels, near, 1))
        self.far = nn.Sequential(depthwise(channels, 1, far, dilation), depthwise(channels, far, 1, dilation))
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def attention(self, x: Tensor) -> Tensor:
        """Return the map, (B, C, H, W)."""
        weights: Tensor = self.pointwise(self.far(self.near(x)))
        return weights
