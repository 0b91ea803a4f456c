"""CAA: context anchor attention, a gate from local means and two long strip convolutions.

    t = silu(BN(W1 avgpool7(x)))                7 x 7 means at every position, zero padding
    y = x * sigmoid(silu(BN(W2 dw_v(dw_h t))))  dw_h: 1 x 11, dw_v: 11 x 1, depthwise

Paper: Cai et al., "Poly Kernel Inception Network for Remote Sensing Detection", CVPR 2024, arXiv 2403.06258.
Code: https://github.com/NUST-Machine-Intelligence-Laboratory/PKINet
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W).
Deviations: the authors' module returns only the gate and leaves the product to its caller. Their network builds it
without batch norm and SiLU, with biases instead (`norm=False`), and with strips that grow by 2 from block to block.
Near the border the 7 x 7 means include the zero padding, as in the authors' code. The convolutions have PyTorch's
default initialization; the authors' code uses that of mmcv, Kaiming normal (fan-out) with zero biases.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_flag, check_odd
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.registry import register_layer

__all__ = ["CAA"]

POOL = 7


@register_layer(
    family="hybrid",
    summary="reweights every value by local means spread along rows and columns by two long strip convolutions",
    aliases=("ContextAnchorAttention",),
    paper="Poly Kernel Inception Network for Remote Sensing Detection, CVPR 2024",
    year=2024,
    url="https://arxiv.org/abs/2403.06258",
    repository="https://github.com/NUST-Machine-Intelligence-Laboratory/PKINet",
    cost="O(C^2 HW)",
)
class CAA(Gate):
    """Context anchor attention.

    Args:
        channels: Channels of the input.
        h_kernel_size: Length of the horizontal strip, odd.
        v_kernel_size: Length of the vertical strip, odd.
        norm: Whether batch norm and SiLU follow the two 1 x 1 convolutions; otherwise they have biases instead.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        h_kernel_size: int = 11,
        v_kernel_size: int = 11,
        norm: bool = True,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_odd(self, h_kernel_size=h_kernel_size, v_kernel_size=v_kernel_size)
        check_flag(self, norm=norm)
        self.conv1 = _pointwise(channels, norm)
        self.conv_h = nn.Conv2d(
            channels, channels, (1, h_kernel_size), padding=(0, h_kernel_size // 2), groups=channels
        )
        self.conv_v = nn.Conv2d(
            channels, channels, (v_kernel_size, 1), padding=(v_kernel_size // 2, 0), groups=channels
        )
        self.conv2 = _pointwise(channels, norm)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        means = F.avg_pool2d(x, POOL, stride=1, padding=POOL // 2)
        return torch.sigmoid(self.conv2(self.conv_v(self.conv_h(self.conv1(means)))))


def _pointwise(channels: int, norm: bool) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, 1, bias=not norm)
    return nn.Sequential(conv, BatchNorm(channels, eps=1e-3, momentum=0.03), nn.SiLU()) if norm else nn.Sequential(conv)
