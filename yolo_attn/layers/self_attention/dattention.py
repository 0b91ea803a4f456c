"""DAttention: deformable attention, each position attends to a grid of points shifted by learned offsets.

    q = Wq x
    o = tanh(W2 gelu(LN(DW q)))                 DW: depthwise convolution with the stride; (dy, dx) for each key
    p = r + range * o                           r: a regular grid over the map; the range is in half grid steps
    k, v = Wk x(p), Wv x(p)                     x(p): bilinear samples
    a = softmax over keys of (q k^T / sqrt(d) + B(l - p))   B: a learned table, sampled bilinearly; l: query position
    y = Wo (a v)

Each of `groups` groups of channels has its own offsets.

Paper: Xia et al., "Vision Transformer with Deformable Attention", CVPR 2022, arXiv 2201.00520.
Code: https://github.com/LeapLabTHU/DAT
Shapes: x (B, C, H, W), y the same.
Algorithm: on a CPU and a large map, the bias is computed by `_table_attention.py`; else it is sampled.
Cost: time is quadratic, (HW)^2 / stride^2; memory is not, because queries are processed in chunks. The authors use
stride 1 on 14 x 14 maps, and in DAT++ strides 4, 2 and 1 on maps of stride 8, 16 and 32.
Deviations: in the code, the grid of keys is shifted by half a step against that of the queries, and its last points are
beyond the map. Here it extends from corner to corner, as in the paper (`shifted_grid=True` for the code's). The head
width is reduced to its greatest common divisor with C. The offset convolution is padded by half its kernel; the
authors' is not padded if the kernel equals the stride. No dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer, check_odd, check_positive
from yolo_attn.layers.numerics import at_least_one, no_autocast, runs_on_cpu, widen
from yolo_attn.layers.self_attention._table_attention import table_attention
from yolo_attn.layers.self_attention._tokens import axis_coordinates, chunked, split_heads, to_tokens
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["DAttention"]

ELEMENTS = 8  # per pair of query and point: offset, bias, logit, softmax and copies
DENSE = 0.75  # rows and columns by those of the table from which the bias is not sampled: their steps are small
TABLE_STD = 0.01


@register_layer(
    family="self_attention",
    summary="attends to a grid of points shifted by learned offsets; quadratic",
    aliases=("DAT", "DeformableAttention"),
    paper="Vision Transformer with Deformable Attention, CVPR 2022",
    year=2022,
    url="https://arxiv.org/abs/2201.00520",
    repository="https://github.com/LeapLabTHU/DAT",
    cost="O(C^2 HW + C (HW / s)^2)",
    renamed={"head_channels": "head_width"},
)
class DAttention(Mixer):
    """Deformable attention.

    Args:
        channels: Channels of the input.
        head_width: d, channels of a head, reduced to the greatest common divisor with the channels.
        groups: Groups of heads with separate offsets, reduced to the greatest common divisor with the heads.
        stride: Distance between keys, in positions.
        kernel_size: Kernel size of the offset convolution, odd.
        offset_range: Largest offset of a point, in half grid steps; None allows any point of the map.
        table_size: Height and width of the map whose distances the position table distinguishes.
        shifted_grid: Whether the grid of keys is shifted by half a step, as in the authors' code.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        head_width: int = 32,
        groups: int = 1,
        stride: int = 1,
        kernel_size: int = 5,
        offset_range: float | None = 2,
        table_size: int = 20,
        shifted_grid: bool = False,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, head_width=head_width, groups=groups, stride=stride, table_size=table_size)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, shifted_grid=shifted_grid)
        if offset_range is not None:
            check_positive(self, offset_range=offset_range)
        self.heads = channels // fitting_groups(channels, head_width)
        self.groups = fitting_groups(self.heads, groups)
        self.offset_range = offset_range
        self.shifted_grid = shifted_grid
        width = channels // self.groups
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)
        self.offset_conv = nn.Conv2d(width, width, kernel_size, stride, kernel_size // 2, groups=width)
        self.offset_norm = nn.LayerNorm(width)
        self.offset_proj = nn.Conv2d(width, 2, 1, bias=False)
        self.table = nn.Parameter(torch.randn(self.heads, 2 * table_size - 1, 2 * table_size - 1) * TABLE_STD)

    def mix(self, x: Tensor) -> Tensor:
        """Return the values attended to by each position."""
        values, contexts, _ = self._attention(x)
        y: Tensor = self.proj(contexts(values).to(x.dtype))
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to the sampling points."""
        values, contexts, points = self._attention(inputs[0])
        return [Reading("", values, contexts, self.heads, points=points)]

    def _attention(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor], Tensor]:
        """Return the values at the points (B, C, rows, columns), the contexts as a function of them, and the points."""
        b, c, h, w = x.shape
        query = self.query(x)
        points = self._points(query)  # (B groups, rows, columns, 2)
        grouped = widen(x).reshape(-1, c // self.groups, h, w)
        sampled = F.grid_sample(grouped, points.flip(3), align_corners=True).to(x.dtype)
        sampled = sampled.reshape(b, c, *points.shape[1:3])
        key, flat = self.key(sampled), points.reshape(b, self.groups, -1, 2)

        def contexts(values: Tensor) -> Tensor:
            return self._attend(query, key, values, flat).transpose(2, 3).reshape(b, c, h, w)

        return self.value(sampled), contexts, points

    def points(self, x: Tensor) -> Tensor:
        """Return the sampling points of the keys, (B, groups, rows, columns, 2): y and x, from -1 to 1 over the map."""
        points = self._points(self.query(x))
        return points.reshape(x.shape[0], self.groups, *points.shape[1:])

    def _points(self, query: Tensor) -> Tensor:
        """Return the sampling points by group, (B * groups, rows, columns, 2)."""
        b, c, h, w = query.shape
        hidden = self.offset_conv(query.reshape(b * self.groups, c // self.groups, h, w)).permute(0, 2, 3, 1)
        offset = widen(self.offset_proj(F.gelu(self.offset_norm(hidden)).permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        shift = 0.5 if self.shifted_grid else 0.0
        row, column = (axis_coordinates(offset.shape[dim], offset, shift) for dim in (1, 2))
        grid = _grid(row, column)
        if self.offset_range is None:
            return (grid + offset).clamp(-1, 1)
        steps = [self.offset_range / at_least_one(offset.shape[dim] - 1) for dim in (1, 2)]
        limit = torch.stack([torch.ones_like(grid[0, 0, 0]) * step for step in steps])  # steps are tensors in a trace
        return grid + torch.tanh(offset) * limit

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, points: Tensor) -> Tensor:
        """Return the values attended to by each query, (B, heads, HW, d)."""
        batch, groups, _, _ = points.shape
        height, width = query.shape[2:]
        tables = widen(self.table).reshape(groups, -1, *self.table.shape[1:]).repeat(batch, 1, 1, 1)
        query, key, value = (self._heads(widen(part)) for part in (query, key, value))
        query = query * query.shape[3] ** -0.5
        with no_autocast(query):
            if not runs_on_cpu(query) or min(height, width) < DENSE * self.table.shape[1]:
                row, column = (axis_coordinates(length, points) for length in (height, width))
                bias = partial(_sample, tables, points.flatten(0, 1))
                return _attend_to_samples(query, key, value, _grid(row, column).flatten(0, 1), bias)
            shape = query.shape
            query, key, value = (x.reshape(batch * groups, -1, *x.shape[2:]) for x in (query, key, value))
            query = query.reshape(*query.shape[:2], height, width, -1)
            return table_attention(query, key, value, points.flatten(0, 1), tables).reshape(shape)

    def _heads(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) as (B, heads, positions, d)."""
        return split_heads(to_tokens(x), self.heads)


def _attend_to_samples(
    query: Tensor, key: Tensor, value: Tensor, positions: Tensor, bias: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the values attended to by each query, with a sampled bias of each query and point.

    Args:
        query: (B, heads, HW, d), scaled.
        key: (B, heads, points, d).
        value: (B, heads, points, d).
        positions: y and x of each query, (HW, 2).
        bias: From the positions of some queries to their bias, with the elements of (B, heads, queries, points).
    """

    def gather(query: Tensor, positions: Tensor) -> Tensor:
        logits = query @ key.transpose(2, 3)
        return (logits + bias(positions).reshape(logits.shape)).softmax(3) @ value

    return chunked(gather, query, positions, elements_per_query=ELEMENTS * key.numel() // key.shape[3])


def _sample(tables: Tensor, points: Tensor, positions: Tensor) -> Tensor:
    """Return the bias of some positions, (B groups, heads of a group, positions, points).

    Args:
        tables: (B groups, heads of a group, T, T).
        points: y and x of each point, (B groups, points, 2).
        positions: y and x of each position, (positions, 2).
    """
    x_and_y = positions.flip(1)[:, None] / 2 - points.flip(2)[:, None] / 2
    return F.grid_sample(tables, x_and_y, align_corners=True)


def _grid(row: Tensor, column: Tensor) -> Tensor:
    """Return y and x of each position, (rows, columns, 2)."""
    return torch.stack(torch.meshgrid(row, column, indexing="ij"), -1)
