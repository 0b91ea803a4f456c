"""Regions of a map, and attention within them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from yolo_attn.layers.checks import check
from yolo_attn.layers.self_attention._tokens import to_map, to_tokens

__all__ = ["Grid", "WindowBias", "from_windows", "masked", "to_windows", "windows"]

TABLE_STD = 0.02


class Grid:
    """Regions of equal size over a map; the first and last ones may extend beyond it.

    Positions are gathered into regions and back by index. Padding and reshaping would give the same result, but
    `torch.compile` takes half a minute to resolve the resulting symbolic sizes.

    Args:
        x: The map.
        tall: Height of a region.
        wide: Width of a region.
        rows: Number of rows of regions.
        columns: Number of columns of regions.
        top: Rows of the first regions before the map.
        left: Columns of the first regions before the map.
    """

    def __init__(
        self, x: Tensor, tall: int, wide: int, rows: int, columns: int, *, top: int = 0, left: int = 0
    ) -> None:
        height, width = x.shape[2:]
        row = _segments(rows, tall, x.device)[:, None, :, None] - top
        column = _segments(columns, wide, x.device)[:, None] - left
        index = row.clamp(min=0).clamp(max=height - 1) * width + column.clamp(min=0).clamp(max=width - 1)
        self.index = index.flatten(2).flatten(0, 1)  # (regions, positions)
        valid = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        self.valid = valid.flatten(2).flatten(0, 1)  # (regions, positions): on the map
        row, column = torch.arange(height, device=x.device)[:, None] + top, torch.arange(width, device=x.device) + left
        region = _divide(row, tall) * columns + _divide(column, wide)
        self.inverse = (region * (tall * wide) + row % tall * wide + column % wide).flatten()  # (HW,), over all regions

    def split(self, x: Tensor) -> Tensor:
        """Return the positions of each region, (B, regions, positions, C); those beyond the map repeat its edge."""
        tokens = to_tokens(x).index_select(1, self.index.flatten())
        return tokens.reshape(x.shape[0], *self.index.shape, x.shape[1])

    def join(self, x: Tensor) -> Tensor:
        """Return regions (B, regions, positions, C) as the positions of the map, (B, HW, C)."""
        return x.flatten(1, 2).index_select(1, self.inverse)


def _segments(count: int, size: int, device: torch.device) -> Tensor:
    """Return the indices of consecutive segments of `size` positions, (count, size)."""
    return torch.arange(count, device=device)[:, None] * size + torch.arange(size, device=device)


def _divide(x: Tensor, by: int) -> Tensor:
    return torch.div(x, by, rounding_mode="floor")


def check_shift(layer: nn.Module, shift: Any, window: int) -> None:
    """Raise ValueError unless a shift is an integer from 0 to the last position of a window."""
    good = isinstance(shift, int) and not isinstance(shift, bool) and 0 <= shift < window
    check(layer, good, "shift", shift, f"an integer from 0 to {window - 1}")


def windows(x: Tensor, size: int, shift: int = 0) -> Grid:
    """Return windows of size x size positions that cover a map; those at its border may extend beyond it.

    Args:
        x: The map.
        size: Height and width of a window.
        shift: First row and column at which a window begins, less than the size; along a side that a single window
            covers, there is no shift.
    """
    height, width = x.shape[2:]
    top, left = _outside(height, size, shift), _outside(width, size, shift)
    rows, columns = (height + top + size - 1) // size, (width + left + size - 1) // size
    return Grid(x, size, size, rows, columns, top=top, left=left)


def _outside(length: int, size: int, shift: int) -> int:
    """Return the number of positions of the first window before the map; a tensor in a trace, where the length is."""
    outside = -shift % size
    return (length > size) * outside if isinstance(length, Tensor) else outside if length > size else 0


def to_windows(x: Tensor, grid: Grid, heads: int) -> Tensor:
    """Return a map (B, heads d, H, W) by window and head, (B, windows heads, positions, d)."""
    split = grid.split(x)  # (B, windows, positions, heads d)
    return split.reshape(*split.shape[:3], heads, -1).transpose(2, 3).flatten(1, 2)


def from_windows(tokens: Tensor, grid: Grid, like: Tensor) -> Tensor:
    """Undo `to_windows` for a map of the size of `like`."""
    b, _, positions, depth = tokens.shape
    split = tokens.reshape(b, grid.valid.shape[0], -1, positions, depth).transpose(2, 3).flatten(3)
    return to_map(grid.join(split), like)


def masked(bias: Tensor, grid: Grid) -> Tensor:
    """Return the bias of each window and head, the least number for keys beyond the map.

    Args:
        bias: (heads, positions, positions) for queries and keys.
        grid: The windows.

    Returns:
        (1, windows heads, positions, positions).
    """
    return bias.masked_fill(~grid.valid[:, None, None], torch.finfo(bias.dtype).min).flatten(0, 1)[None]


class WindowBias(nn.Module):
    """A learned bias of each head for each distance between a query and a key of a window.

    Args:
        heads: Number of heads.
        size: Height and width of the windows.
    """

    def __init__(self, heads: int, size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(heads, 2 * size - 1, 2 * size - 1) * TABLE_STD)

    def forward(self) -> Tensor:
        """Return the bias (heads, positions, positions) of query and key."""
        sides = self.table.shape[1]
        size = (sides + 1) // 2
        index = torch.arange(size, device=self.table.device)
        distance = index[:, None] - index + size - 1  # (size, size): of query and key along one axis
        both = distance[:, None, :, None] * sides + distance[:, None]  # by row and column of query, then of key
        return self.table.flatten(1)[:, both.reshape(size * size, size * size)]
