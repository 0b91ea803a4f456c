"""OmniKernel: large, strip-shaped and global branches of OKNet, added before a last convolution.

    o = gelu(W x)
    f = |a * o|, a = Wa mean over H, W of o     (C)
    c = f * Wc mean over H, W of f
    e = alpha |IFFT(W1 c * FFT(W2 c))| + beta c     a product in frequency: a circular convolution of the whole map
    y = Wy relu(x + DW_kxk o + DW_1xk o + DW_kx1 o + DW_1x1 o + e)      DW: depthwise convolutions

W, Wa, Wc, W1, W2, Wy are 1 x 1 convolutions. alpha is initialized to 0, beta to 1 for every channel.

Paper: Cui et al., "Omni-Kernel Network for Image Restoration", AAAI 2024.
Code: https://github.com/c-yn/OKNet
Shapes: x (B, C, H, W), y the same. The code uses it on the smallest map only.
Deviations: f is computed without a Fourier transform, which the code applies and inverts around the product with a, a
real number for each channel. A 3 x 3 convolution of the code that has no effect is omitted. The four depthwise
convolutions are applied as one, without the weights that lie outside of the map at every position, and by Fourier
transforms where the kernel is large. Exported graphs have plain convolutions and, for the transforms of e, products
with matrices, which all formats have. Transforms, c and e are in float32. YOLO forks have k = 31.
"""

from __future__ import annotations

from math import pi
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_odd
from yolo_attn.layers.large_kernel._fourier import depthwise, transforms
from yolo_attn.layers.numerics import is_exported, length, no_autocast, saturate, total, widen
from yolo_attn.layers.projections import wide_conv
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["OmniKernel"]


@register_layer(
    family="large_kernel",
    summary="adds a large, two strip-shaped and a global branch, the latter by Fourier transforms; heavy",
    paper="Omni-Kernel Network for Image Restoration, AAAI 2024",
    year=2024,
    url="https://ojs.aaai.org/index.php/AAAI/article/view/27907",
    repository="https://github.com/c-yn/OKNet",
    cost="O((C^2 + k^2 C) HW)",
)
class OmniKernel(Mixer):
    """Omni-kernel module.

    Args:
        channels: Channels of the input.
        kernel_size: k, size of the large and length of the strip-shaped kernels, odd.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    no_attention_maps = "its branches are convolutions, and products of spectra that are no gate of a position"

    def __init__(self, channels: int, *, kernel_size: int = 63, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_odd(self, kernel_size=kernel_size)
        shapes = ((kernel_size, kernel_size), (1, kernel_size), (kernel_size, 1), (1, 1))
        self.reduce = nn.Conv2d(channels, channels, 1)
        self.dwconvs = nn.ModuleList(
            nn.Conv2d(channels, channels, (a, b), padding=(a // 2, b // 2), groups=channels) for a, b in shapes
        )
        self.frequency = nn.Conv2d(channels, channels, 1)
        self.channel = nn.Conv2d(channels, channels, 1)
        self.modulation = FrequencyModulation(channels)
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the projection of the sum of all branches."""
        hidden = F.gelu(self.reduce(x))
        branches = total([self._modulate(hidden), self._convolve(hidden), x])  # in at least float32
        return saturate(self.proj(torch.relu(saturate(branches, hidden.dtype)).to(hidden.dtype)))

    def _convolve(self, hidden: Tensor) -> Tensor:
        """Return the sum of the depthwise convolutions, (B, C, H, W)."""
        if is_exported():  # the size of the map may be dynamic
            return total(conv(hidden) for conv in self.dwconvs)
        return depthwise(hidden, *self.kernel(*hidden.shape[2:]))

    def kernel(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return the sum of the kernels, as large as a map of this size can meet, and of their biases.

        Args:
            height: Height of the map.
            width: Its width.
        """
        convs = cast("list[nn.Conv2d]", list(self.dwconvs))
        large, *small = (conv.weight for conv in convs)
        weight = large
        for part in small:
            rows, columns = ((a - b) // 2 for a, b in zip(large.shape[2:], part.shape[2:], strict=True))
            weight = weight + F.pad(part, (columns, columns, rows, rows))
        rows, columns = (max(0, k // 2 - n + 1) for k, n in zip(weight.shape[2:], (height, width), strict=True))
        weight = weight[:, :, rows : weight.shape[2] - rows, columns : weight.shape[3] - columns]
        return weight, total(cast(Tensor, conv.bias) for conv in convs)

    def _modulate(self, hidden: Tensor) -> Tensor:
        """Return e, (B, C, H, W), in at least float32."""
        with no_autocast(hidden):  # e is of degree eight in the features
            hidden = widen(hidden)
            f = (hidden * wide_conv(self.frequency, mean(hidden, 2, 3, keepdim=True))).abs()
            y: Tensor = self.modulation(f * wide_conv(self.channel, mean(f, 2, 3, keepdim=True)))
        return y


class FrequencyModulation(nn.Module):
    """The modulation of the spectrum of a map, fgm in the authors' code.

    Args:
        channels: Channels of the map.

    Shape:
        c (B, C, H, W); output the same, in at least float32.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.ones(channels))
        self.factor = nn.Conv2d(channels, channels, 1)
        self.spectrum = nn.Conv2d(channels, channels, 1)

    def forward(self, c: Tensor) -> Tensor:
        """Return the weighted sum of the modulated map and the map."""
        with no_autocast(c):
            c = widen(c)
            modulate = _modulated if transforms(c) else _modulated_by_tables
            modulated = modulate(wide_conv(self.factor, c), wide_conv(self.spectrum, c))
            return widen(self.alpha)[:, None, None] * modulated + widen(self.beta)[:, None, None] * c


def _modulated(factor: Tensor, x: Tensor) -> Tensor:
    """Return |IFFT(factor * FFT(x))|, (B, C, H, W), over both axes of the map."""
    y: Tensor = torch.fft.ifft2(factor * torch.fft.fft2(x)).abs()
    return y


def _modulated_by_tables(factor: Tensor, x: Tensor) -> Tensor:
    """Return the same by products with matrices.

    With R and I the parts of a spectrum, cos and sin the tables of an axis, the transform along that axis is
    (R + i I) (cos - i sin), the inverse (R + i I) (cos + i sin) divided by the length.
    """
    height, width = x.shape[2:]
    (cos_h, sin_h), (cos_w, sin_w) = _table(height, x), _table(width, x)
    real, imaginary = x @ cos_w, -x @ sin_w
    real, imaginary = cos_h @ real + sin_h @ imaginary, cos_h @ imaginary - sin_h @ real
    real, imaginary = factor * real, factor * imaginary
    real, imaginary = real @ cos_w - imaginary @ sin_w, imaginary @ cos_w + real @ sin_w
    real, imaginary = cos_h @ real - sin_h @ imaginary, cos_h @ imaginary + sin_h @ real
    parts = torch.stack([real, imaginary]) / (height * width)
    # The squares of large parts exceed float32. The factor cancels, so no gradient flows through it.
    largest = parts.detach().abs().amax((0, 3, 4), keepdim=True).clamp(min=1)
    return length(parts / largest, 0)[0] * largest[0]


def _table(length: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines of the Fourier transform of an axis, (length, length) each."""
    index = torch.arange(length, device=like.device)
    angle = (index[:, None] * index % length).to(like.dtype) * (2 * pi) / length
    return angle.cos(), angle.sin()
