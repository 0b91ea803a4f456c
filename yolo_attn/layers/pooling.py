"""Adaptive pooling that exports to ONNX at any map size.

PyTorch's own adaptive pooling exports only where the size of the map is a known multiple of the size of the result.
"""

from __future__ import annotations

import torch
from torch import Tensor

from yolo_attn.layers.numerics import no_autocast, widen

__all__ = ["adaptive_mean", "averaging_matrix"]


def adaptive_mean(x: Tensor, height: int, width: int) -> Tensor:
    """Return what `F.adaptive_avg_pool2d` returns: the means of height x width cells that cover the map.

    Cell i of n along an axis of length N holds the positions from floor(i N / n) up to, not with, ceil((i + 1) N / n);
    with n > N some positions are in several cells.

    Args:
        x: (B, C, H, W).
        height: Rows of cells.
        width: Columns of cells.

    Returns:
        (B, C, height, width), of the dtype of x.
    """
    with no_autocast(x):
        wide = widen(x)
        rows = averaging_matrix(height, x.shape[2], wide) @ wide
        return (rows @ averaging_matrix(width, x.shape[3], wide).T).to(x.dtype)


def averaging_matrix(cells: int, length: int, like: Tensor) -> Tensor:
    """Return the matrix (cells, length) that takes the means along one axis, with the dtype and device of `like`."""
    cell = torch.arange(cells, device=like.device)[:, None]
    place = torch.arange(length, device=like.device)
    first, end = cell * length // cells, ((cell + 1) * length + cells - 1) // cells
    inside = ((place >= first) & (place < end)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)
