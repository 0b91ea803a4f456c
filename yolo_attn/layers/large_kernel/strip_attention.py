"""StripAttention: multiplies by a map computed with depthwise strips of 1 x 19 and 19 x 1, of Strip R-CNN.

    a = W v(h(DW5 x))                           DW5: depthwise 5 x 5; h, v: depthwise 1 x k and k x 1 convolutions
    y = x * a                                   or y = x + W2 (u * a(u)), u = gelu(W1 x), with `project`

Paper: Yuan et al., "Strip R-CNN: Large Strip Convolution for Remote Sensing Object Detection", 2025, arXiv 2501.03775.
Code: https://github.com/HVision-NKU/Strip-R-CNN
Shapes: x (B, C, H, W), y the same; weights(x) (B, C, H, W), of any size and sign.
The authors' class StripBlock is y = x * a, their Attention the form with `project`, and the StripBlock of many forks of
YOLO a whole block, in which the call of the strips is commented out: it contains no strips.
Deviations: none.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolo_attn.layers.checks import check_odd
from yolo_attn.layers.large_kernel._large_kernel import LargeKernel, depthwise
from yolo_attn.registry import register_layer

__all__ = ["StripAttention"]


@register_layer(
    family="large_kernel",
    summary="multiplies by a map computed from depthwise strips of 19 positions along rows and columns",
    paper="Strip R-CNN: Large Strip Convolution for Remote Sensing Object Detection, 2025",
    year=2025,
    url="https://arxiv.org/abs/2501.03775",
    repository="https://github.com/HVision-NKU/Strip-R-CNN",
    cost="O(C^2 HW)",
    renamed={"k2": "kernel_size"},
)
class StripAttention(LargeKernel):
    """Attention by large strips.

    Args:
        channels: Channels of the input.
        kernel_size: k, length of the strips, odd.
        project: Whether the layer is placed between two 1 x 1 convolutions with a shortcut, as in the authors' network.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, kernel_size: int = 19, project: bool = False, init: str = "paper") -> None:
        super().__init__(channels, project=project, init=init)
        check_odd(self, kernel_size=kernel_size)
        self.near = depthwise(channels, 5, 5)
        self.strips = nn.Sequential(depthwise(channels, 1, kernel_size), depthwise(channels, kernel_size, 1))
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def attention(self, x: Tensor) -> Tensor:
        """Return the map, (B, C, H, W)."""
        weights: Tensor = self.pointwise(self.strips(self.near(x)))
        return weights
