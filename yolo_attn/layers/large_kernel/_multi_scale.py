"""Multi-scale depthwise convolution, shared by MSCA and CPCA."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from yolo_attn.layers.large_kernel._large_kernel import depthwise
from yolo_attn.layers.numerics import total

__all__ = ["MultiScale"]


class MultiScale(nn.Module):
    """The sum u + sum over k of v_k(h_k(u)), u = dw5(x).

    Args:
        channels: Channels in and out.
        kernel_sizes: Lengths k of the strips, odd.
    """

    def __init__(self, channels: int, kernel_sizes: Sequence[int]) -> None:
        super().__init__()
        self.near = depthwise(channels, 5, 5)
        self.strips = nn.ModuleList(
            nn.Sequential(depthwise(channels, 1, k), depthwise(channels, k, 1)) for k in kernel_sizes
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, (B, C, H, W)."""
        near = self.near(x)
        return total([near, *(strip(near) for strip in self.strips)])
