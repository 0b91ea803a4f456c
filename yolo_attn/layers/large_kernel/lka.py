"""LKA: large kernel attention, a large receptive field from two small depthwise kernels.

    a = W dw7(dw5(x))                           dw5: 5 x 5; dw7: 7 x 7 with dilation 3; W: 1 x 1
    y = x * a                                   or y = x + W2 (h * a(h)), h = gelu(W1 x), with `project`

Paper: Guo et al., "Visual Attention Network", Computational Visual Media 2023, arXiv 2202.09741.
Code: https://github.com/Visual-Attention-Network/VAN-Classification
Shapes: x (B, C, H, W), y the same; weights(x) (B, C, H, W), of any size and sign, each computed from 23 x 23
positions.
Deviations: weights have PyTorch's initialization; the authors' network initializes them with variance 2 / fan out.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolo_attn.layers.large_kernel._large_kernel import LargeKernel, depthwise
from yolo_attn.registry import register_layer

__all__ = ["LKA"]


@register_layer(
    family="large_kernel",
    summary="multiplies by a map with a 23 x 23 receptive field, computed by two depthwise kernels",
    aliases=("LargeKernelAttention",),
    paper="Visual Attention Network, Computational Visual Media 2023",
    year=2022,
    url="https://arxiv.org/abs/2202.09741",
    repository="https://github.com/Visual-Attention-Network/VAN-Classification",
    cost="O(C^2 HW)",
)
class LKA(LargeKernel):
    """Large kernel attention.

    Args:
        channels: Channels of the input.
        project: Whether the layer is placed between two 1 x 1 convolutions with a shortcut, as in the authors' network.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, project: bool = False, init: str = "paper") -> None:
        super().__init__(channels, project=project, init=init)
        self.near = depthwise(channels, 5, 5)
        self.far = depthwise(channels, 7, 7, dilation=3)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def attention(self, x: Tensor) -> Tensor:
        """Return the map, (B, C, H, W)."""
        weights: Tensor = self.pointwise(self.far(self.near(x)))
        return weights
