"""DAttention: deformable attention, every position attends to a grid of points that the content has moved.

    q = Wq x
    o = tanh(W2 gelu(LN(DW q)))                 DW: depthwise convolution with the stride; (dy, dx) for each key
    p = r + range * o                           r: a regular grid over the map; the range is in half cells of it
    k, v = Wk x(p), Wv x(p)                     x(p): read between positions, bilinearly
    a = softmax over keys of (q k^T / sqrt(d) + B(l - p))   B: a learned table, read bilinearly; l: the query's place
    y = Wo (a v)

Offsets are made for each of `groups` groups of channels.

Paper: Xia et al., "Vision Transformer with Deformable Attention", CVPR 2022, arXiv 2201.00520.
Code: https://github.com/LeapLabTHU/DAT
Shapes: x (B, C, H, W), y the same.
Cost: quadratic, (HW)^2 / stride^2; computed in blocks of queries, so that memory is not. The authors use stride 1 on
14 x 14 maps, and in DAT++ stride 4, 2 and 1 on maps of stride 8, 16 and 32.
Deviations: the grid of the code is shifted by half a cell against that of the queries, and its last points are beyond
the map; here it is the paper's, from corner to corner (`shifted_grid=True` for the code's). Where C is not a multiple
of the head's channels, their greatest common divisor. The convolution for the offsets is padded by half its kernel; the
authors' is not padded at all where the kernel equals the stride. No dropout.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer, check_odd, check_positive
from yolo_attn.layers.numerics import at_least_one, no_autocast, widen
from yolo_attn.layers.self_attention.tokens import split_heads, stream, tokens
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["DAttention"]

HELD = 8  # numbers for each pair of query and point: the way, the bias, the energy, its softmax and copies
TABLE_STD = 0.01


@register_layer(
    family="self_attention",
    summary="attends to a grid of points that the content has moved; quadratic",
    aliases=("DAT", "DeformableAttention"),
    paper="Vision Transformer with Deformable Attention, CVPR 2022",
    year=2022,
    url="https://arxiv.org/abs/2201.00520",
    repository="https://github.com/LeapLabTHU/DAT",
    cost="O(C^2 HW + C (HW / s)^2)",
)
class DAttention(Mixer):
    """Deformable attention.

    Args:
        channels: Channels of the input.
        head_channels: d, channels of a head, brought down to what divides the channels.
        groups: Groups of heads with offsets of their own, brought down to what divides the heads.
        stride: Positions from key to key.
        kernel_size: Kernel size of the convolution for the offsets, odd.
        offset_range: How far a point may move, in half cells of the grid; None lets it move anywhere on the map.
        table_size: Height and width of the map whose distances the position table tells apart.
        shifted_grid: Whether the grid of keys is shifted by half a cell, as in the authors' code.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        head_channels: int = 32,
        groups: int = 1,
        stride: int = 1,
        kernel_size: int = 5,
        offset_range: float | None = 2,
        table_size: int = 20,
        shifted_grid: bool = False,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, head_channels=head_channels, groups=groups, stride=stride, table_size=table_size)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, shifted_grid=shifted_grid)
        if offset_range is not None:
            check_positive(self, offset_range=offset_range)
        self.heads = channels // fitting_groups(channels, head_channels)
        self.groups = fitting_groups(self.heads, groups)
        self.offset_range = offset_range
        self.shifted_grid = shifted_grid
        width = channels // self.groups
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)
        self.look = nn.Conv2d(width, width, kernel_size, stride, kernel_size // 2, groups=width)
        self.look_norm = nn.LayerNorm(width)
        self.offset = nn.Conv2d(width, 2, 1, bias=False)
        self.table = nn.Parameter(torch.randn(self.heads, 2 * table_size - 1, 2 * table_size - 1) * TABLE_STD)

    def mix(self, x: Tensor) -> Tensor:
        """Return what every position has gathered from the moved points."""
        b, c, h, w = x.shape
        query = self.query(x)
        points = self._points(query)  # (B groups, rows, columns, 2)
        grouped = widen(x).reshape(-1, c // self.groups, h, w)
        read = F.grid_sample(grouped, points.flip(3), align_corners=True).to(x.dtype)
        read = read.reshape(b, c, *points.shape[1:3])
        gathered = self._attend(query, self.key(read), self.value(read), points.reshape(b, self.groups, -1, 2))
        y: Tensor = self.project(gathered.to(x.dtype).transpose(2, 3).reshape(b, c, h, w))
        return y

    def points(self, x: Tensor) -> Tensor:
        """Return where the keys are read, (B, groups, rows, columns, 2): y and x, from -1 to 1 over the map."""
        points = self._points(self.query(x))
        return points.reshape(x.shape[0], self.groups, *points.shape[1:])

    def _points(self, query: Tensor) -> Tensor:
        """Return the points by group, (B * groups, rows, columns, 2)."""
        b, c, h, w = query.shape
        seen = self.look(query.reshape(b * self.groups, c // self.groups, h, w)).permute(0, 2, 3, 1)
        offset = widen(self.offset(F.gelu(self.look_norm(seen)).permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        shift = 0.5 if self.shifted_grid else 0.0
        row, column = (_line(offset.shape[dim], offset, shift) for dim in (1, 2))
        grid = _grid(row, column)
        if self.offset_range is None:
            return (grid + offset).clamp(-1, 1)
        cells = [self.offset_range / at_least_one(offset.shape[dim] - 1) for dim in (1, 2)]
        reach = torch.stack([torch.ones_like(grid[0, 0, 0]) * cell for cell in cells])  # a trace has tensors for cells
        return grid + torch.tanh(offset) * reach

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, points: Tensor) -> Tensor:
        """Return the values gathered by each query, (B, heads, HW, d)."""
        places = _grid(_line(query.shape[2], points), _line(query.shape[3], points)).flatten(0, 1)  # (HW, 2)
        query, key, value = (self._heads(widen(part)) for part in (query, key, value))
        batch, groups = points.shape[:2]
        tables = widen(self.table).reshape(groups, -1, *self.table.shape[1:]).repeat(batch, 1, 1, 1)
        points = points.flatten(0, 1)[:, None]  # (B groups, 1, points, 2)

        def gather(query: Tensor, places: Tensor) -> Tensor:
            with no_autocast(query):
                energies = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
                way = (places[:, None] - points) / 2  # (B groups, queries, points, 2)
                bias = F.grid_sample(tables, way.flip(3), align_corners=True)
                gathered: Tensor = (energies + bias.reshape(energies.shape)).softmax(3) @ value
                return gathered

        return stream(gather, query, places, held=HELD * key.numel() // key.shape[3])

    def _heads(self, x: Tensor) -> Tensor:
        """Return (B, heads, positions, d) of (B, C, H, W)."""
        return split_heads(tokens(x), self.heads)


def _line(length: int, like: Tensor, shift: float = 0.0) -> Tensor:
    """Return the places along an axis, -1 for the first and 1 for the last one."""
    place = torch.arange(length, device=like.device, dtype=like.dtype) + shift
    return place * (2 / at_least_one(length - 1)) - 1


def _grid(row: Tensor, column: Tensor) -> Tensor:
    """Return y and x of every cell, (rows, columns, 2)."""
    return torch.stack(torch.meshgrid(row, column, indexing="ij"), -1)
