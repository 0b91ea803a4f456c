"""Linear maps of the channels of each position, by the operator that computes them fastest on a CPU.

A convolution to a single channel takes six times as long as the same product of a matrix and a vector. Otherwise the
processor decides. With several threads PyTorch computes 1 x 1 convolutions with oneDNN, and matrix products with the
BLAS that it was built with. On processors of AMD with AVX-512 MKL takes as long as oneDNN, or up to twice as long; on
those with AVX2 only it takes 0.6 to 0.9 of the time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.numerics import is_traced, no_autocast, runs_on_cpu, runs_on_cpu_in_float32, widen

__all__ = [
    "TokenLinear",
    "convolves",
    "few_channels",
    "linear",
    "rows_of_channels",
    "single_channel",
    "token_rows",
    "wide_conv",
]


class TokenLinear(nn.Linear):
    """A linear layer for tokens (B, N, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to each token."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b like `F.linear`.

    Args:
        x: Tokens (B, N, K).
        weight: W, (M, K).
        bias: b, (M,), or None.

    Returns:
        Tokens (B, N, M), contiguous.
    """
    if not convolves(x):
        return F.linear(x, weight, bias)
    lines = token_rows(x).transpose(1, 2)[:, :, None]  # (B, K, 1, N) in channels_last
    return F.conv2d(lines, weight[:, :, None, None], bias).squeeze(2).transpose(1, 2)


def token_rows(x: Tensor) -> Tensor:
    """Return tokens in the order that `linear` reads, so that several layers share one copy."""
    return x.contiguous() if convolves(x) else x


def few_channels(x: Tensor) -> Tensor:
    """Return a map of a few channels in the memory format whose convolutions have the fastest derivative on a CPU.

    That of a 7 x 7 convolution of two channels takes a quarter of the time, and more than the channels of x together.
    """
    if not runs_on_cpu(x):
        return x
    return x.contiguous(memory_format=torch.channels_last)


def rows_of_channels(x: Tensor) -> Tensor:
    """Return a map in the memory format whose 1 x 1 convolutions return tokens without a copy."""
    return x.contiguous(memory_format=torch.channels_last) if convolves(x) else x


def convolves(x: Tensor) -> bool:
    """Return whether a 1 x 1 convolution of x is at least as fast as the matrix product."""
    if not runs_on_cpu_in_float32(x):
        return False
    has_one_dnn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return has_one_dnn and torch.get_num_threads() > 1 and torch.backends.cpu.get_cpu_capability() == "AVX512"


def single_channel(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return the output (B, 1, H, W) of a 1 x 1 convolution to one channel.

    Args:
        conv: The convolution.
        x: (B, C, H, W).
    """
    if is_traced():
        convolved: Tensor = conv(x)
        return convolved
    weight = conv.weight.flatten(1).expand(x.shape[0], 1, -1)  # a single matrix would be multiplied with a copy of x
    y = (weight @ x.flatten(2)).reshape(-1, 1, *x.shape[2:])
    return y if conv.bias is None else y + conv.bias.to(y.dtype)


def wide_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return the output of a convolution in at least float32, whatever the types of x and of the weights.

    Args:
        conv: The convolution, with padding by zeros.
        x: (B, C, H, W).
    """
    with no_autocast(x):
        bias = None if conv.bias is None else widen(conv.bias)
        return F.conv2d(widen(x), widen(conv.weight), bias, conv.stride, conv.padding, conv.dilation, conv.groups)
