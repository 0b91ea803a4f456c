"""BRA: bi-level routing, every region of the map attends to the few regions that are most like it.

    q, k, v = W x                               at each cell
    Q, K = q and k averaged over each region
    R_i = the k largest of Q_i . K_j over j     the regions that the cells of region i attend to
    y = Wo (softmax(q k^T / sqrt(C)) v over the cells of R_i + depthwise conv(v))      in each head

The routing has no gradient; it learns because q and k do.

Paper: Zhu et al., "BiFormer: Vision Transformer with Bi-Level Routing Attention", CVPR 2023, arXiv 2303.08810.
Code: https://github.com/rayleizhu/BiFormer
Shapes: x (B, C, H, W), y the same.
Memory: `topk` copies of keys and values. Time grows with topk (HW)^2 / regions: a twelfth of full attention.
Deviations: the authors have two forms, equal where n_win divides H and W. The newer one (the default) has regions of
H // n_win x W // n_win cells, more than n_win^2 of them where that leaves a rest; the first one (legacy=True) grows the
map with zeros to n_win^2 equal regions. The newer one lets cells beyond the map's end take part as zero keys, and has a
note to mask them; here they are masked. It cannot have less than n_win rows; here a region has at least one cell. With
less than `topk` regions all are attended to. Heads are brought down to what divides the channels. The scale is that of
all channels, not of one head's, as in both forms.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer, check_odd
from yolo_attn.layers.numerics import at_least_one, no_autocast, widen
from yolo_attn.layers.self_attention.tokens import attend, join_heads, maps, split_heads, tokens
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["BRA"]


@register_layer(
    family="self_attention",
    summary="lets every region of the map attend to the few regions most like it",
    aliases=("BiLevelRoutingAttention", "BiFormerAttention"),
    paper="BiFormer: Vision Transformer with Bi-Level Routing Attention, CVPR 2023",
    year=2023,
    url="https://arxiv.org/abs/2303.08810",
    repository="https://github.com/rayleizhu/BiFormer",
    cost="O(C k (HW)^2 / S^2)",
)
class BRA(Mixer):
    """Bi-level routing attention.

    Args:
        channels: Channels of the input.
        heads: Number of heads, brought down to what divides the channels.
        n_win: S, regions along each side.
        topk: k, regions that each region attends to.
        kernel_size: Kernel of the depthwise convolution, odd.
        legacy: Whether to divide the map as the authors' first form does.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 8,
        n_win: int = 7,
        topk: int = 4,
        kernel_size: int = 3,
        legacy: bool = False,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads, n_win=n_win, topk=topk)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, legacy=legacy)
        self.heads = fitting_groups(channels, heads)
        self.n_win = n_win
        self.topk = topk
        self.legacy = legacy
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.local = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.project = nn.Conv2d(channels, channels, 1)
        self.scale = channels**-0.5

    def mix(self, x: Tensor) -> Tensor:
        """Return what every cell reads from the regions that its own is routed to."""
        height, width = x.shape[2:]
        n = self.n_win
        if self.legacy:
            tall, wide = (height + n - 1) // n, (width + n - 1) // n
            x = F.pad(x, (0, n * wide - width, 0, n * tall - height))
            grid = Grid(x, tall, wide, n, n)
        else:
            tall, wide = at_least_one(height // n), at_least_one(width // n)
            grid = Grid(x, tall, wide, (height + tall - 1) // tall, (width + wide - 1) // wide)
        query, key, value = self.qkv(x).chunk(3, 1)
        y = maps(self._attend(grid, self._route(x, grid), query, key, value), x) + self.local(value)
        return cast(Tensor, self.project(y[:, :, :height, :width]))

    def _route(self, x: Tensor, grid: Grid) -> Tensor:
        """Return the regions that each region attends to, (B, regions, k).

        The mean of W x is W times the mean of x, which is cheap enough for float32: in a narrower type many a close
        choice would fall otherwise.
        """
        with no_autocast(x):
            cells = grid.split(widen(x.detach())) * grid.real[..., None]
            means = cells.sum(2) / grid.real.sum(1, keepdim=True)
            weight, bias = widen(self.qkv.weight.detach()).flatten(1), widen(cast(Tensor, self.qkv.bias).detach())
            query, key, _ = F.linear(means, weight, bias).chunk(3, 2)
            likeness = query @ key.transpose(1, 2)
        regions = likeness.shape[2]
        count = regions.clamp(max=self.topk) if isinstance(regions, Tensor) else min(regions, self.topk)
        return likeness.topk(count)[1]

    def _attend(self, grid: Grid, route: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return what every cell reads, (B, HW, C)."""
        q, k, v = (grid.split(t) for t in (query, key, value))
        shape = q.shape
        k, v = _routed(k, route), _routed(v, route)  # (B regions, k cells, C)
        mask = grid.real[route].flatten(2).flatten(0, 1)[:, None, None]  # (B regions, 1, 1, k cells)
        q, k, v = (split_heads(t, self.heads) for t in (q.flatten(0, 1), k, v))
        y = join_heads(attend(q, k, v, scale=self.scale, bias=mask))
        return grid.join(y.reshape(shape))


class Grid:
    """Regions of equal size over a map, which may reach beyond its end.

    Cells go to their regions and back by number. Padding and reshaping would do as well, but reasoning about the
    sizes that come of it takes `torch.compile` half a minute.

    Args:
        x: The map.
        tall: Rows of cells in a region.
        wide: Columns of cells in a region.
        rows: Rows of regions.
        columns: Columns of regions.
    """

    def __init__(self, x: Tensor, tall: int, wide: int, rows: int, columns: int) -> None:
        height, width = x.shape[2:]
        row = _stretches(rows, tall, x.device)[:, None, :, None]
        column = _stretches(columns, wide, x.device)[:, None]
        cell = row.clamp(max=height - 1) * width + column.clamp(max=width - 1)
        self.cell = cell.flatten(2).flatten(0, 1)  # (regions, cells)
        self.real = ((row < height) & (column < width)).flatten(2).flatten(0, 1)  # (regions, cells): not beyond the end
        row, column = torch.arange(height, device=x.device)[:, None], torch.arange(width, device=x.device)
        region = _divide(row, tall) * columns + _divide(column, wide)
        self.place = (region * (tall * wide) + row % tall * wide + column % wide).flatten()  # (HW,), among all regions'

    def split(self, x: Tensor) -> Tensor:
        """Return the cells of each region, (B, regions, cells, C); beyond the end, the last ones again."""
        return tokens(x)[:, self.cell]

    def join(self, x: Tensor) -> Tensor:
        """Return the cells (B, HW, C) of the regions (B, regions, cells, C)."""
        return x.flatten(1, 2)[:, self.place]


def _stretches(count: int, size: int, device: torch.device) -> Tensor:
    """Return the places in stretches of `size` places, (count, size)."""
    return torch.arange(count, device=device)[:, None] * size + torch.arange(size, device=device)


def _divide(x: Tensor, by: int) -> Tensor:
    return torch.div(x, by, rounding_mode="floor")


def _routed(x: Tensor, route: Tensor) -> Tensor:
    """Return the cells of the regions (B, regions, cells, C) along each route, (B regions, k cells, C)."""
    b, regions = x.shape[:2]
    first = torch.arange(b, device=x.device)[:, None, None] * regions
    return x.flatten(0, 1)[route + first].flatten(2, 3).flatten(0, 1)
