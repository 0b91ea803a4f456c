"""Queries sorted into blocks whose windows are all in one region of the map.

Queries with predicted windows attend anywhere, but those whose windows begin in the same tile of the map share most of
their keys. They are cut into blocks, each of which needs the keys of a region alone that is larger than a window by a
tile. The last block of each tile is filled up, so the number of blocks depends on the size of the map and not on the
windows, and the device never waits for the host.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Blocks", "blocks_pay", "sort_into_blocks"]

TILE = 8
"""Rows and columns of a tile: larger ones have more keys outside of the windows, smaller ones more empty slots."""
SIZE = 64
"""Queries of a block."""
FEWER_PAIRS = 2
"""By how much there must be fewer pairs of queries and keys than in the whole map, because blocks are gathered."""


@dataclass(frozen=True)
class Blocks:
    """Blocks of the queries of all images; a query is numbered as its position in (B HW,).

    Attributes:
        queries: Query in each slot, (blocks, SIZE); 0 in an empty slot.
        slots: Slot of each query, (B HW,).
        origins: First position of the map of each block, (blocks, 1).
        rows: Rows of the map in the region of each block, (blocks, rows).
        columns: Columns of the map in the region of each block, (blocks, columns).
    """

    queries: Tensor
    slots: Tensor
    origins: Tensor
    rows: Tensor
    columns: Tensor


def blocks_pay(height: int, width: int, radius: int) -> bool:
    """Return whether blocks of a map have fewer pairs of queries and keys by a factor of `FEWER_PAIRS`."""
    rows, columns = _region(height, radius), _region(width, radius)
    return FEWER_PAIRS * _count(height, width) * SIZE * rows * columns <= (height * width) ** 2


def sort_into_blocks(row: Tensor, column: Tensor, height: int, width: int, radius: int) -> Blocks:
    """Return the blocks of the queries of some maps.

    Args:
        row: Row of the center of each window, (B, HW).
        column: Column of the center of each window, (B, HW).
        height: Rows of the map.
        width: Columns of the map.
        radius: Rows and columns that a window extends to each side.
    """
    device, (batch, queries) = row.device, row.shape
    across = _tiles(width)
    tiles = _tiles(height) * across
    tile = _tile(row, height) * across + _tile(column, width)  # (B, HW)
    counts = torch.zeros(batch, tiles, dtype=torch.long, device=device).scatter_add_(1, tile, torch.ones_like(tile))
    used = (counts + (SIZE - 1)) // SIZE  # blocks of each tile
    last = used.cumsum(1)
    order = tile.argsort(1)
    tile = tile.gather(1, order)
    rank = torch.arange(queries, device=device) - (counts.cumsum(1) - counts).gather(1, tile)  # in its tile
    images = torch.arange(batch, device=device)[:, None]
    count = _count(height, width)
    slot = (last - used).gather(1, tile) * SIZE + rank + images * (count * SIZE)
    order = (order + images * queries).flatten()
    slots = torch.empty_like(order).scatter_(0, order, slot.flatten())
    filled = torch.zeros(batch * count * SIZE, dtype=torch.long, device=device).scatter_(0, slot.flatten(), order)
    block = torch.arange(count, device=device).expand(batch, -1).contiguous()
    tile = torch.searchsorted(last, block, right=True).clamp(max=tiles - 1).flatten()[:, None]
    origins = (images * queries).expand(-1, count).reshape(-1, 1)
    rows = _extent(tile // across, height, radius)
    return Blocks(filled.reshape(-1, SIZE), slots, origins, rows, _extent(tile % across, width, radius))


def _count(height: int, width: int) -> int:
    """Return the number of blocks of a map: each tile has at most one that is not full."""
    return height * width // SIZE + _tiles(height) * _tiles(width)


def _tiles(length: int) -> int:
    return (length + TILE - 1) // TILE


def _tile(center: Tensor, length: int) -> Tensor:
    """Return the tile in which the window around each center begins, counted from the first window's beginning."""
    return torch.ceil(center).long().div(TILE, rounding_mode="floor").clamp(0, _tiles(length) - 1)


def _region(length: int, radius: int) -> int:
    """Return the length of a region, which includes the windows that begin in a tile as far as they are on the map."""
    return min(length, TILE + 2 * radius)


def _extent(tile: Tensor, length: int, radius: int) -> Tensor:
    """Return the rows or columns of the region of each tile (n, 1), (n, rows or columns)."""
    size = _region(length, radius)
    return (tile * TILE - radius).clamp(0, length - size) + torch.arange(size, device=tile.device)
