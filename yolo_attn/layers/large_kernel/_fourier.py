"""Depthwise convolution with a large kernel as a product of spectra.

A convolution with a k x k kernel takes k^2 multiplications per position, transforms a number that grows with the
logarithm of the size of the map. On a CPU a kernel of 63 x 63 on a map of 80 x 80 takes a seventieth of the time, its
derivatives a ninetieth, and rounding errors are a tenth, because fewer numbers are added up.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from yolo_attn.layers.numerics import is_exported, no_autocast, widen

__all__ = ["depthwise", "transforms"]

LARGE = 15
"""Height and width from which a kernel is large; CPUs have fast convolutions with smaller ones."""
FACTORS = (2, 3, 5)
"""Prime factors of lengths with fast transforms."""


def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the depthwise convolution of a map padded with zeros, (B, C, H, W).

    A large kernel gives a result in at least float32. Exported graphs have the plain convolution, as all formats do.

    Args:
        x: (B, C, H, W).
        weight: (C, 1, k, l), k and l odd.
        bias: (C,).
    """
    if min(weight.shape[2:]) < LARGE or not transforms(x):
        padding = [size // 2 for size in weight.shape[2:]]
        return F.conv2d(x, weight, bias, padding=padding, groups=x.shape[1])
    with no_autocast(x):
        return _from_spectra(widen(x), widen(weight)[:, 0]) + widen(bias)[:, None, None]


def transforms(x: Tensor) -> bool:
    """Return whether the device of x has Fourier transforms, and no exporter records the operators."""
    return not is_exported() and x.device.type in {"cpu", "cuda", "meta"}


def _from_spectra(x: Tensor, kernel: Tensor) -> Tensor:
    """Return the convolution of x (B, C, H, W) with kernels (C, k, l).

    What wraps around the map lands beyond the first and last half of a kernel, which are cut off.
    """
    (height, width), (above, left) = x.shape[2:], (size // 2 for size in kernel.shape[1:])
    size = (_fast_length(height + above), _fast_length(width + left))
    spectrum = torch.fft.rfft2(x, size) * torch.fft.rfft2(kernel.flip(1, 2), size)
    y: Tensor = torch.fft.irfft2(spectrum, size)
    return y[:, :, above : above + height, left : left + width]


def _fast_length(least: int) -> int:
    """Return the smallest number from `least` on whose prime factors have fast transforms."""
    length = least
    while not _is_fast(length):
        length += 1
    return length


def _is_fast(length: int) -> bool:
    for factor in FACTORS:
        while length % factor == 0:
            length //= factor
    return length == 1
