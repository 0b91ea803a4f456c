"""Means over bins and windows, and upsampling, where PyTorch's operators do not export or are slow.

PyTorch's adaptive pooling exports to ONNX only if the size of the map is a known multiple of the output size. Its
average pooling and nearest-neighbor upsampling are scalar loops on a CPU.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from yolo_attn.layers.numerics import at_least_one, is_traced, no_autocast, runs_on_cpu_in_float32, widen

__all__ = ["adaptive_max", "adaptive_mean", "averaging_matrix", "bin_limits", "nearest", "padded_to", "window_mean"]


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


def adaptive_max(x: Tensor, height: int, width: int) -> Tensor:
    """Return the result of `F.adaptive_max_pool2d`: the maxima of the bins of `adaptive_mean`.

    Args:
        x: (B, C, H, W).
        height: Rows of bins.
        width: Columns of bins.

    Returns:
        (B, C, height, width).
    """
    return _max_along(_max_along(x, 2, height), 3, width)


def _max_along(x: Tensor, dim: int, bins: int) -> Tensor:
    """Return the maxima of the bins along one dimension."""
    length = x.shape[dim]
    first, end = bin_limits(bins, length, x.device)
    longest = (length + bins - 1) // bins + 1
    index = torch.minimum(first + torch.arange(longest, device=x.device), end - 1)  # short bins repeat their last one
    shape = [*x.shape[:dim], bins, longest, *x.shape[dim + 1 :]]
    return x.index_select(dim, index.flatten()).reshape(shape).amax(dim + 1)


def bin_limits(bins: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the first position of each bin along an axis, and the one after its last, (bins, 1) each."""
    index = torch.arange(bins, device=device)[:, None]
    return index * length // bins, ((index + 1) * length + bins - 1) // bins


def averaging_matrix(bins: int, length: int, like: Tensor) -> Tensor:
    """Return the matrix (bins, length) that averages along one axis, with the dtype and device of `like`."""
    first, end = bin_limits(bins, length, like.device)
    position = torch.arange(length, device=like.device)
    inside = ((position >= first) & (position < end)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


def window_mean(x: Tensor, extent: int) -> Tensor:
    """Return the means over overlapping windows of 2 extent - 1 rows and columns, cut off at the border of the map.

    Args:
        x: (B, C, H, W).
        extent: Distance of the centers of neighboring windows.

    Returns:
        (B, C, ceil(H / extent), ceil(W / extent)).
    """
    reach = extent - 1
    size = 2 * reach + 1
    if not runs_on_cpu_in_float32(x):
        return F.avg_pool2d(x, size, extent, reach, count_include_pad=False)
    with no_autocast(x):
        sums = F.conv2d(x, x.new_ones(x.shape[1], 1, size, size), None, extent, reach, groups=x.shape[1])
    rows, columns = (x.new_tensor(_covered(length, extent)) for length in x.shape[2:])
    return sums / (rows[:, None] * columns)


def _covered(length: int, extent: int) -> list[int]:
    """Return how many positions of an axis each window covers."""
    return [min(center + extent, length) - max(center - extent + 1, 0) for center in range(0, length, extent)]


def nearest(x: Tensor, height: int, width: int, extent: int) -> Tensor:
    """Return a map of windows upsampled by nearest neighbor, like `F.interpolate`.

    Args:
        x: (B, C, ceil(height / extent), ceil(width / extent)).
        height: Rows of the result.
        width: Columns of the result.
        extent: Rows and columns per window.
    """
    if is_traced() or height % extent or width % extent:
        return F.interpolate(x, size=(height, width))
    lines = x.repeat_interleave(extent, 3)[:, :, :, None]
    return lines.expand(-1, -1, -1, extent, -1).reshape(*x.shape[:2], height, width)


def padded_to(x: Tensor, side: int) -> Tensor:
    """Return x, padded with zeros at the bottom and right to a height and width of at least `side`.

    Args:
        x: (B, C, H, W).
        side: Height and width of a patch, of which the map then has at least one.
    """
    down, right = (at_least_one(side + 1 - length) - 1 for length in x.shape[2:])
    if not is_traced() and down == right == 0:
        return x  # padding by nothing copies the map
    return F.pad(x, (0, right, 0, down))
