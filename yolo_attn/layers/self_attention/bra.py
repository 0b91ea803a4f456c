"""BRA: bi-level routing attention, each region of the map attends to the few regions most similar to it.

    q, k, v = W x                               at each position
    Q, K = q and k averaged over each region
    R_i = the k largest of Q_i . K_j over j     the regions that region i attends to
    y = Wo (softmax(q k^T / sqrt(C)) v over the positions of R_i + depthwise conv(v))      in each head

The routing has no gradient; it is trained indirectly through q and k.

Paper: Zhu et al., "BiFormer: Vision Transformer with Bi-Level Routing Attention", CVPR 2023, arXiv 2303.08810.
Code: https://github.com/rayleizhu/BiFormer
Shapes: x (B, C, H, W), y the same.
Memory: `topk` copies of keys and values. Time grows with topk (HW)^2 / regions, a twelfth of full attention.
Deviations: the authors have two forms, which are equal if the grid size S divides H and W. The newer one (the default)
has regions of H // S x W // S positions, and more than S^2 of them if there is a remainder. The first one (legacy=True)
pads the map with zeros to S^2 equal regions. In the authors' newer form, positions beyond the map take part as zero
keys, with a note to mask them; here they are masked. That form requires at least S rows; here a region has at least one
position. With fewer than `topk` regions, all are attended to. The number of heads is reduced to its greatest common
divisor with C. The scale is that of all channels, not of one head's, as in both forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer, check_odd
from yolo_attn.layers.numerics import at_least_one, no_autocast, widen
from yolo_attn.layers.self_attention._tokens import attend, join_heads, split_heads, to_map
from yolo_attn.layers.self_attention._windows import Grid
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["BRA"]


@register_layer(
    family="self_attention",
    summary="lets each region of the map attend to the few regions most similar to it",
    aliases=("BiLevelRoutingAttention", "BiFormerAttention"),
    paper="BiFormer: Vision Transformer with Bi-Level Routing Attention, CVPR 2023",
    year=2023,
    url="https://arxiv.org/abs/2303.08810",
    repository="https://github.com/rayleizhu/BiFormer",
    cost="O(C k (HW)^2 / S^2)",
    renamed={"n_win": "grid_size"},
)
class BRA(Mixer):
    """Bi-level routing attention.

    Args:
        channels: Channels of the input.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        grid_size: S, number of regions along each side.
        topk: k, number of regions that each region attends to.
        kernel_size: Kernel size of the depthwise convolution, odd.
        legacy: Whether the map is divided as in the authors' first form.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 8,
        grid_size: int = 7,
        topk: int = 4,
        kernel_size: int = 3,
        legacy: bool = False,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads, grid_size=grid_size, topk=topk)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, legacy=legacy)
        self.heads = fitting_groups(channels, heads)
        self.grid_size = grid_size
        self.topk = topk
        self.legacy = legacy
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.dwconv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.proj = nn.Conv2d(channels, channels, 1)
        self.scale = channels**-0.5

    def mix(self, x: Tensor) -> Tensor:
        """Return the attention of each position to the regions selected for its own."""
        height, width = x.shape[2:]
        x, grid = self._divide(x)
        query, key, value = self.qkv(x).chunk(3, 1)
        y = self._attend(grid, self._route(x, grid), query, key, value) + self.dwconv(value)
        return cast(Tensor, self.proj(y[:, :, :height, :width]))

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to those of the regions selected for their own."""
        x, grid = self._divide(inputs[0])
        query, key, value = self.qkv(x).chunk(3, 1)
        contexts = partial(self._attend, grid, self._route(x, grid), query, key)
        return [Reading("", value, contexts, self.heads)]

    def _divide(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Return x, padded in the first form, and its regions."""
        height, width = x.shape[2:]
        n = self.grid_size
        if self.legacy:
            tall, wide = (height + n - 1) // n, (width + n - 1) // n
            x = F.pad(x, (0, n * wide - width, 0, n * tall - height))
            return x, Grid(x, tall, wide, n, n)
        tall, wide = at_least_one(height // n), at_least_one(width // n)
        return x, Grid(x, tall, wide, (height + tall - 1) // tall, (width + wide - 1) // wide)

    def _route(self, x: Tensor, grid: Grid) -> Tensor:
        """Return the regions that each region attends to, (B, regions, k).

        The mean of W x is W times the mean of x, which is cheap enough for float32. A narrower type would change many
        close choices.
        """
        with no_autocast(x):
            values = grid.split(widen(x.detach())) * grid.valid[..., None]
            means = values.sum(2) / grid.valid.sum(1, keepdim=True)
            weight, bias = widen(self.qkv.weight.detach()).flatten(1), widen(cast(Tensor, self.qkv.bias).detach())
            query, key, _ = F.linear(means, weight, bias).chunk(3, 2)
            similarity = query @ key.transpose(1, 2)
        regions = similarity.shape[2]
        count = regions.clamp(max=self.topk) if isinstance(regions, Tensor) else min(regions, self.topk)
        return similarity.topk(count)[1]

    def _attend(self, grid: Grid, route: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the context of each position, (B, C, H, W)."""
        q, k, v = (grid.split(t) for t in (query, key, value))
        shape = q.shape
        k, v = _routed(k, route), _routed(v, route)  # (B regions, k positions, C)
        mask = grid.valid[route].flatten(2).flatten(0, 1)[:, None, None]  # (B regions, 1, 1, k positions)
        q, k, v = (split_heads(t, self.heads) for t in (q.flatten(0, 1), k, v))
        y = join_heads(attend(q, k, v, scale=self.scale, bias=mask))
        return to_map(grid.join(y.reshape(shape)), query)


def _routed(x: Tensor, route: Tensor) -> Tensor:
    """Return the positions of the regions (B, regions, positions, C) along each route, (B regions, k positions, C)."""
    b, regions = x.shape[:2]
    first = torch.arange(b, device=x.device)[:, None, None] * regions
    return x.flatten(0, 1)[route + first].flatten(2, 3).flatten(0, 1)
