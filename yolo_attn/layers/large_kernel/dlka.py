"""DLKA: deformable large kernel attention, LKA whose kernels have learned offsets.

    D_k(x)_u = sum over taps t of w_t x(u + t + o_t(x)_u)       bilinear between positions, zero outside the map
    a = W D_7(D_5(x))                                           5 x 5; 7 x 7 with dilation 3; W: 1 x 1
    y = x * a                                   or y = x + W2 (h * a(h)), h = gelu(W1 x), with `project`

The offsets o, two numbers per tap and position, are computed by a dense k x k convolution with the dilation of D_k.

Paper: Azad et al., "Beyond Self-Attention: Deformable Large Kernel Attention for Medical Image Segmentation", WACV
2024, arXiv 2309.00121.
Code: https://github.com/xmindflow/deformableLKA
Shapes: x (B, C, H, W), y the same; weights(x) (B, C, H, W), of any size and sign. The offsets take 6,052 C weights, 1.5
million at C = 256, each applied at every position: place the layer where the map is small.
Precision: bilinear sampling has a kink where a tap crosses a row or column of the map. Near it a float32 rounding error
selects one of two slopes, so the gradients of two correct implementations can differ at single positions.
Deviations: the deformable convolution uses `grid_sample`, so it needs no compiled operator and exports to ONNX. Offsets
and samples are in float32. Offsets are initialized randomly, as in the authors' code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.large_kernel._large_kernel import LargeKernel
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.registry import register_layer

__all__ = ["DLKA"]


class DeformableDepthwise(nn.Module):
    """A deformable depthwise convolution that computes its own offsets.

    Args:
        channels: Channels in and out.
        kernel_size: k, odd.
        dilation: Step between the taps before the offsets.
    """

    def __init__(self, channels: int, kernel_size: int, dilation: int = 1) -> None:
        super().__init__()
        padding = kernel_size // 2 * dilation
        taps = kernel_size**2
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.offsets = nn.Conv2d(channels, 2 * taps, kernel_size, padding=padding, dilation=dilation)
        self.taps = nn.Conv2d(channels, channels, kernel_size, groups=channels, bias=False)  # contains w, see `forward`

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution, (B, C, H, W)."""
        return deformable_depthwise(x, self.offsets(x), self.taps.weight, self.dilation)


def deformable_depthwise(x: Tensor, offsets: Tensor, kernel: Tensor, dilation: int) -> Tensor:
    """Convolve each channel with its own k x k kernel, with an offset for each tap.

    Args:
        x: (B, C, H, W).
        offsets: (B, 2 k^2, H, W), in positions: down and right of tap 0, of tap 1, ..., row by row.
        kernel: (C, 1, k, k), k odd.
        dilation: Step between the taps before the offsets.
    """
    k = kernel.shape[-1]
    b, c, h, w = x.shape
    down, right = widen(offsets).reshape(b, k, k, 2, h, w).unbind(3)  # (B, k, k, H, W) each: row and column of the tap
    steps = torch.arange(-(k // 2), k // 2 + 1, device=x.device, dtype=down.dtype) * dilation
    down = down + steps.view(k, 1, 1, 1) + torch.arange(h, device=x.device, dtype=down.dtype).view(-1, 1)
    right = right + steps.view(k, 1, 1) + torch.arange(w, device=x.device, dtype=down.dtype)
    grid = torch.stack([(2 * right + 1) / w - 1, (2 * down + 1) / h - 1], 5)  # from -1 to 1 between the outer edges
    with no_autocast(x):
        wide, weights = widen(x), widen(kernel)
        result = torch.zeros_like(wide)
        for row in range(k):  # one row of taps at a time bounds the memory
            samples = F.grid_sample(wide, grid[:, row].reshape(b, k * h, w, 2), align_corners=False)
            samples = samples.reshape(b, c, k, h, w)
            result = result + (samples * weights[:, 0, row].view(c, k, 1, 1)).sum(2)
    return result.to(x.dtype)


@register_layer(
    family="large_kernel",
    summary="multiplies by a map with a large receptive field and learned offsets; heavy",
    aliases=("DeformableLKA", "deformable_LKA"),
    paper="Beyond Self-Attention: Deformable Large Kernel Attention for Medical Image Segmentation, WACV 2024",
    year=2023,
    url="https://arxiv.org/abs/2309.00121",
    repository="https://github.com/xmindflow/deformableLKA",
    cost="O((C^2 + 6052 C) HW)",
)
class DLKA(LargeKernel):
    """Deformable large kernel attention.

    Args:
        channels: Channels of the input.
        project: Whether the layer is placed between two 1 x 1 convolutions with a shortcut, as in the authors' network.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, project: bool = False, init: str = "paper") -> None:
        super().__init__(channels, project=project, init=init)
        self.near = DeformableDepthwise(channels, 5)
        self.far = DeformableDepthwise(channels, 7, dilation=3)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def attention(self, x: Tensor) -> Tensor:
        """Return the map, (B, C, H, W)."""
        weights: Tensor = self.pointwise(self.far(self.near(x)))
        return weights
