"""Modulated deformable convolution of PyTorch's own operators, which exports to ONNX."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.numerics import no_autocast, total, widen

TAPS = 3
"""Side of the kernel."""


def deformable_conv(conv: nn.Conv2d, x: Tensor, offsets: Tensor, masks: Tensor) -> Tensor:
    """Convolve with a 3 x 3 kernel whose taps are moved and scaled at each position of the output.

    Args:
        conv: The kernel, its bias and its stride.
        x: (B, C, H, W).
        offsets: (B, 18, H', W'), in positions of x: down and right of tap 0, of tap 1, ..., row by row.
        masks: Factors of the taps, (B, 9, H', W').

    Returns:
        (B, C', H', W'), with zeros outside of x and bilinear values between its positions.
    """
    b, c, height, width = x.shape
    h, w = offsets.shape[2:]
    down, right = widen(offsets).reshape(b, TAPS, TAPS, 2, h, w).unbind(3)  # (B, 3, 3, H', W') each
    step = conv.stride[0]
    steps = torch.arange(-1, TAPS - 1, device=x.device, dtype=down.dtype)
    down = down + steps.view(TAPS, 1, 1, 1) + step * torch.arange(h, device=x.device, dtype=down.dtype).view(-1, 1)
    right = right + steps.view(TAPS, 1, 1) + step * torch.arange(w, device=x.device, dtype=down.dtype)
    grid = torch.stack([(2 * right + 1) / width - 1, (2 * down + 1) / height - 1], 5)
    factors = widen(masks).reshape(b, 1, TAPS, TAPS, h, w)
    with no_autocast(x):
        values, kernel = widen(x), widen(conv.weight)
        bias = None if conv.bias is None else widen(conv.bias)
        sums = []
        for row in range(TAPS):  # one row of taps at a time bounds the memory
            samples = F.grid_sample(values, grid[:, row].reshape(b, TAPS * h, w, 2), align_corners=False)
            samples = samples.reshape(b, c, TAPS, h, w) * factors[:, :, row]
            weight = kernel[:, :, row].reshape(conv.out_channels, conv.in_channels * TAPS, 1, 1)
            sums.append(F.conv2d(samples.flatten(1, 2), weight, None if row else bias))
        return total(sums).to(x.dtype)
