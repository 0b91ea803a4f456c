"""The k x k neighbourhood of every position, as shifted views of one padded map.

`torch.nn.functional.unfold` would copy the map k^2 times.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from yolo_attn.layers.numerics import at_least_one

__all__ = ["neighbours", "reflect", "shifted"]


def neighbours(x: Tensor, k: int) -> list[Tensor]:
    """Return the k * k neighbours of every position, row by row, zero beyond the border: k * k maps like x.

    Args:
        x: (..., H, W).
        k: Height and width of the neighbourhood, odd.
    """
    return shifted(F.pad(x, (k // 2, k // 2, k // 2, k // 2)), k)


def shifted(padded: Tensor, k: int) -> list[Tensor]:
    """Return the k * k views (..., H, W) of a map that is padded by k - 1 rows and columns, row by row."""
    height, width = padded.shape[-2] - (k - 1), padded.shape[-1] - (k - 1)
    return [padded[..., row : row + height, column : column + width] for row in range(k) for column in range(k)]


def reflect(x: Tensor, border: int) -> Tensor:
    """Pad a map by reflection at its outermost rows and columns, however small it is.

    PyTorch's own padding by reflection refuses borders as wide as the map.

    Args:
        x: (B, C, H, W).
        border: Rows and columns to add on each side.
    """
    rows, columns = (_reflected(x.shape[dim], border, x.device) for dim in (2, 3))
    return x.index_select(2, rows).index_select(3, columns)


def _reflected(length: int, border: int, device: torch.device) -> Tensor:
    """Return the places 0 ... length - 1 that the places -border ... length + border - 1 mirror."""
    place = torch.arange(-border, length + border, device=device)
    period = at_least_one(2 * (length - 1))
    place = place % period
    return torch.minimum(place, period - place)
