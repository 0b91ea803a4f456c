"""The k x k neighborhood of each position, as shifted views of a padded map.

`torch.nn.functional.unfold` would copy the map k^2 times.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from yolo_attn.layers.numerics import at_least_one

__all__ = ["by_head", "neighbors", "reflect", "shifted"]


def by_head(x: Tensor, heads: int) -> Tensor:
    """Return a map (B, C, H, W) as (B, heads, C / heads, H, W)."""
    return x.reshape(x.shape[0], heads, -1, *x.shape[2:])


def neighbors(x: Tensor, k: int, dilation: int = 1) -> list[Tensor]:
    """Return the k * k neighbors of each position, row by row, zero beyond the border: k * k maps like x.

    Args:
        x: (..., H, W).
        k: Height and width of the neighborhood, odd.
        dilation: Distance of adjacent neighbors.
    """
    border = k // 2 * dilation
    return shifted(F.pad(x, (border, border, border, border)), k, dilation)


def shifted(padded: Tensor, k: int, dilation: int = 1) -> list[Tensor]:
    """Return the k * k views (..., H, W) of a map padded by (k - 1) * dilation rows and columns, row by row."""
    border = (k - 1) * dilation
    height, width = padded.shape[-2] - border, padded.shape[-1] - border
    starts = range(0, k * dilation, dilation)
    return [padded[..., row : row + height, column : column + width] for row in starts for column in starts]


def reflect(x: Tensor, border: int) -> Tensor:
    """Pad a map of any size by reflection at its outermost rows and columns.

    PyTorch's reflection padding raises an error if the border is as wide as the map.

    Args:
        x: (B, C, H, W).
        border: Rows and columns to add on each side.
    """
    for dim in (2, 3):
        length = x.shape[dim]
        before, after = (_reflected(first, border, length, x.device) for first in (-border, length))
        x = torch.cat([x.index_select(dim, before), x, x.index_select(dim, after)], dim)
    return x


def _reflected(first: int, count: int, length: int, device: torch.device) -> Tensor:
    """Return the indices from 0 to length - 1 that `count` positions beyond an end are reflected to."""
    period = at_least_one(2 * (length - 1))
    # Of at least 0 before the remainder: that of ExecuTorch has the sign of its argument.
    index = (torch.arange(first, first + count, device=device) + count * period) % period
    return torch.minimum(index, period - index)
