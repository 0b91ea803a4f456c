"""Adaptive pooling that exports to ONNX at any map size.

PyTorch's adaptive pooling exports only if the size of the map is a known multiple of the output size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from yolo_attn.layers.numerics import no_autocast, widen

__all__ = ["adaptive_mean", "averaging_matrix"]


def adaptive_mean(x: Tensor, height: int, width: int) -> Tensor:
    """Return the result of `F.adaptive_avg_pool2d`: the means of height x width bins that cover the map.

    Bin i of n along an axis of length N consists of the positions from floor(i N / n) up to, but not including,
    ceil((i + 1) N / n). With n > N some positions are in several bins.

    Args:
        x: (B, C, H, W).
        height: Rows of bins.
        width: Columns of bins.

    Returns:
        (B, C, height, width), of the dtype of x.
    """
    with no_autocast(x):
        wide = widen(x)
        rows = averaging_matrix(height, x.shape[2], wide) @ wide
        return (rows @ averaging_matrix(width, x.shape[3], wide).T).to(x.dtype)


def averaging_matrix(bins: int, length: int, like: Tensor) -> Tensor:
    """Return the matrix (bins, length) that averages along one axis, with the dtype and device of `like`."""
    index = torch.arange(bins, device=like.device)[:, None]
    position = torch.arange(length, device=like.device)
    first, end = index * length // bins, ((index + 1) * length + bins - 1) // bins
    inside = ((position >= first) & (position < end)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)
