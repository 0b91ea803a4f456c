"""LSK: large selective kernel, which weights a small and a large receptive field at each position.

    u1 = dw5(x), u2 = dw7(u1)                   dw5: 5 x 5; dw7: 7 x 7 with dilation 3
    b1 = W1 u1, b2 = W2 u2                      C -> C/2
    s1, s2 = sigmoid(conv7([mean; max over the channels of [b1; b2]]))      one map each
    a = W (b1 * s1 + b2 * s2)                   C/2 -> C
    y = x * a                                   or y = x + W4 (h * a(h)), h = gelu(W3 x), with `project`

Paper: Li et al., "Large Selective Kernel Network for Remote Sensing Object Detection", ICCV 2023, arXiv 2303.09030.
Code: https://github.com/zcablii/LSKNet
Shapes: x (B, C, H, W), y the same; weights(x) (B, C, H, W), of any size and sign.
Deviations: weights have PyTorch's initialization; the authors' network initializes them with variance 2 / fan out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.large_kernel._large_kernel import LargeKernel, depthwise
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.registry import register_layer

__all__ = ["LSK"]


@register_layer(
    family="large_kernel",
    summary="multiplies by a map that weights a small and a large receptive field at each position",
    aliases=("LSKblock", "LSKBlock"),
    paper="Large Selective Kernel Network for Remote Sensing Object Detection, ICCV 2023",
    year=2023,
    url="https://arxiv.org/abs/2303.09030",
    repository="https://github.com/zcablii/LSKNet",
    cost="O(C^2 HW)",
)
class LSK(LargeKernel):
    """Large selective kernel.

    Args:
        channels: Channels of the input.
        project: Whether the layer is placed between two 1 x 1 convolutions with a shortcut, as in the authors' network.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, project: bool = False, init: str = "paper") -> None:
        super().__init__(channels, project=project, init=init)
        hidden = hidden_width(channels, 2)
        self.near = depthwise(channels, 5, 5)
        self.far = depthwise(channels, 7, 7, dilation=3)
        self.reduce_near = nn.Conv2d(channels, hidden, 1)
        self.reduce_far = nn.Conv2d(channels, hidden, 1)
        self.select = nn.Conv2d(2, 2, 7, padding=3)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def attention(self, x: Tensor) -> Tensor:
        """Return the map, (B, C, H, W)."""
        near = self.near(x)
        near, far = self.reduce_near(near), self.reduce_far(self.far(near))
        both = torch.cat([near, far], 1)
        share = torch.sigmoid(self.select(torch.cat([both.mean(1, keepdim=True), both.amax(1, keepdim=True)], 1)))
        weights: Tensor = self.expand(near * share[:, :1] + far * share[:, 1:])
        return weights
