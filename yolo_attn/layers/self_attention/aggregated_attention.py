"""AggregatedAttention: each position attends to its neighbors and to a pooled map in one softmax, of TransNeXt.

    q = Wq x, divided by its length             in each head of d channels
    k, v = W x of the 3 x 3 neighbors, and W z of the pooled cells; keys divided by their length
    z = LN of the means of gelu(Ws x) over the cells of a grid of H // s x W // s
    L = (q + e) . k softplus(tau) log(n) + b    n: number of keys of the query; e, tau: learned for each head
    b: learned for each neighbor; for cells, an MLP of the distances in rows and columns, logarithmically spaced
    a = softmax of L over neighbors and cells together
    y = Wo (sum over cells of a v + sum over neighbors of (a + q . T + t) v)        T, t: learned for each neighbor

Paper: Shi, "TransNeXt: Robust Foveal Visual Perception for Vision Transformers", CVPR 2024, arXiv 2311.17132.
Code: https://github.com/DaiShiResearch/TransNeXt
Shapes: x (B, C, H, W), y the same.
Cost: time is quadratic, divided by s^2; memory is not, because queries are processed in chunks. The authors halve s at
each stage, from 8.
Deviations: everything that depends on the size of the map is computed for it, where the code stores it for one size.
The grid has at least one cell, and a map of one row or column has the distance 0, where the code raises an error or
gives NaN. Logits are computed in float32. The number of heads is reduced to its greatest common divisor with C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer, check_odd
from yolo_attn.layers.numerics import at_least_one, no_autocast, total, unit, widen
from yolo_attn.layers.pooling import adaptive_mean, bin_limits
from yolo_attn.layers.self_attention._neighborhood import by_head, neighbors
from yolo_attn.layers.self_attention._tokens import chunked, to_map, to_tokens, token_positions
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["AggregatedAttention"]

HIDDEN = 512
"""Hidden units of the MLP of distances."""
TEMPERATURE = 1 / 0.24
"""Initial factor of the logits."""
SPAN = 8
"""Distance of opposite borders before it is logarithmically spaced."""
ELEMENTS = 6  # per pair of query and key: bias, logit, joint logits, weights and copies


@register_layer(
    family="self_attention",
    summary="attends to neighbors and to a pooled map in one softmax; quadratic, divided by the size of the cells",
    aliases=("TransNeXt_AggregatedAttention",),
    paper="TransNeXt: Robust Foveal Visual Perception for Vision Transformers, CVPR 2024",
    year=2023,
    url="https://arxiv.org/abs/2311.17132",
    repository="https://github.com/DaiShiResearch/TransNeXt",
    cost="O(C^2 HW + C (HW / s)^2)",
    renamed={"sr_ratio": "pool", "num_heads": "heads", "window_size": "kernel_size"},
)
class AggregatedAttention(Mixer):
    """Pixel-focused attention of TransNeXt.

    Args:
        channels: Channels of the input.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        kernel_size: Height and width of the neighborhoods, odd.
        pool: s, height and width of the cells.
        qkv_bias: Whether queries, keys and values have a bias.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 8,
        kernel_size: int = 3,
        pool: int = 4,
        qkv_bias: bool = True,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads, pool=pool)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, qkv_bias=qkv_bias)
        self.heads = fitting_groups(channels, heads)
        self.kernel_size = kernel_size
        self.pool = pool
        width, near = channels // self.heads, kernel_size**2
        self.query = nn.Conv2d(channels, channels, 1, bias=qkv_bias)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1, bias=qkv_bias)
        self.reduce = nn.Conv2d(channels, channels, 1)
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, self.heads))
        self.proj = nn.Conv2d(channels, channels, 1)
        self.temperature = nn.Parameter(torch.full((self.heads,), TEMPERATURE).expm1().log())  # softplus^-1
        self.embedding = nn.Parameter(torch.randn(self.heads, width, 1) * 0.02)
        self.tokens = nn.Parameter(torch.randn(self.heads, near, width) * 0.02)
        self.token_bias = nn.Parameter(torch.zeros(self.heads * near))
        self.near_bias = nn.Parameter(torch.randn(self.heads * near) * 0.0004)

    def mix(self, x: Tensor) -> Tensor:
        """Return the projected contexts."""
        value, cells, read, local = self._attention(x)
        contexts, weights = read(cells)
        y: Tensor = self.proj(contexts + local(weights, value))
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention to the neighbors, with all their factors, and that to the cells."""
        value, cells, read, local = self._attention(inputs[0])
        near = partial(local, read(cells)[1])
        return [
            Reading("neighbors", value, near, self.heads),
            Reading("cells", cells, lambda values: read(values)[0], self.heads, step=None),
        ]

    def _attention(
        self, x: Tensor
    ) -> tuple[Tensor, Tensor, Callable[[Tensor], tuple[Tensor, Tensor]], Callable[[Tensor, Tensor], Tensor]]:
        """Return the values of the positions and of the cells, maps of C channels, and how they are read.

        The first function returns the contexts of the cells (B, C, H, W), for their values, and the weights of the
        neighbors; the second one the contexts of the neighbors, for their weights and values.
        """
        query, (key, value) = self.query(x), self.key_value(x).chunk(2, 1)
        cell_key, cell_value = self.key_value(self._cells(x)).chunk(2, 1)
        with no_autocast(x):
            q, k, cell_k = (self._unit(t) for t in (query, key, cell_key))
            inside = torch.stack(neighbors(torch.ones_like(q[0, 0, 0]), self.kernel_size))  # (k k, H, W)
            count = inside.sum(0) + cell_k.shape[3] * cell_k.shape[4]
            temperature = F.softplus(widen(self.temperature))[:, None, None, None]
            scaled = (q + widen(self.embedding)[..., None]) * temperature * count.log()
            near = self._near_logits(scaled, k).masked_fill(inside == 0, torch.finfo(scaled.dtype).min)
            factors = self._token_factors(q)

        def read(values: Tensor) -> tuple[Tensor, Tensor]:
            with no_autocast(x):
                contexts, weights = self._read(scaled, near, cell_k, by_head(values, self.heads))
            return contexts.flatten(1, 2).to(values.dtype), weights

        def local(weights: Tensor, values: Tensor) -> Tensor:
            maps = zip((weights + factors).to(values.dtype).unbind(2), neighbors(values, self.kernel_size), strict=True)
            return total(factor[:, :, None] * by_head(near, self.heads) for factor, near in maps).flatten(1, 2)

        return value, cell_value, read, local

    def _cells(self, x: Tensor) -> Tensor:
        """Return the normalized features of the pooled cells, (B, C, rows, columns)."""
        rows, columns = (at_least_one(size // self.pool) for size in x.shape[2:])
        cells = adaptive_mean(F.gelu(self.reduce(x)), rows, columns)
        return to_map(self.norm(to_tokens(cells)), cells).to(cells.dtype)

    def _unit(self, x: Tensor) -> Tensor:
        """Return a map as (B, heads, d, H, W) with vectors of length 1, in at least float32."""
        return unit(widen(by_head(x, self.heads)), 2)

    def _near_logits(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the logits of the neighbors, (B, heads, k k, H, W)."""
        products = [(query * near).sum(2) for near in neighbors(key, self.kernel_size)]
        return torch.stack(products, 2) + widen(self.near_bias).reshape(self.heads, -1, 1, 1)

    def _token_factors(self, query: Tensor) -> Tensor:
        """Return q . T + t of the neighbors, (B, heads, k k, H, W)."""
        factors = widen(self.tokens) @ query.flatten(3) + widen(self.token_bias).reshape(self.heads, -1, 1)
        return factors.reshape(*factors.shape[:3], *query.shape[3:])

    def _read(self, query: Tensor, near: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the contexts of the cells (B, heads, d, H, W), and the weights of the neighbors like their logits.

        Args:
            query: (B, heads, d, H, W).
            near: Logits of the neighbors, (B, heads, k k, H, W).
            key: Keys of the cells, (B, heads, d, rows, columns).
            value: Their values, of the same shape.
        """
        depth, height, width = query.shape[2:]
        rows, columns = key.shape[3:]
        keys, values = key.flatten(3), widen(value).flatten(3).transpose(2, 3)
        table = self._table(height, width, query)

        def part(query: Tensor, near: Tensor, row: Tensor, column: Tensor) -> Tensor:
            down, right = _distances(row, height, rows), _distances(column, width, columns)  # (n, rows), (n, columns)
            bias = table[:, (down[:, :, None] * (4 * width - 3) + right[:, None]).flatten(1)]
            weights = torch.cat([near, query @ keys + bias], 3).softmax(3)
            first = near.shape[3]
            return torch.cat([weights[..., first:] @ values, weights[..., :first]], 3)

        q, logits = (t.flatten(3).transpose(2, 3) for t in (query, near))
        elements = ELEMENTS * query.shape[0] * self.heads * keys.shape[3]
        found = chunked(part, q, logits, *token_positions(query[:, 0]), elements_per_query=elements).transpose(2, 3)
        maps = found.reshape(*found.shape[:3], height, width)
        return maps[:, :, :depth], maps[:, :, depth:]

    def _table(self, height: int, width: int, like: Tensor) -> Tensor:
        """Return the biases (heads, (4 H - 3) (4 W - 3)) of all distances in rows and columns, in half positions."""
        down, right = _spaced(height, like), _spaced(width, like)
        ones = torch.ones_like
        points = torch.stack([down[:, None] * ones(right), ones(down)[:, None] * right], 2).flatten(0, 1)
        return widen(chunked(self.mlp, points.to(self.token_bias.dtype), elements_per_query=2 * HIDDEN)).T


def _spaced(length: int, like: Tensor) -> Tensor:
    """Return the distances of -(L - 1) to L - 1 in half positions along one axis, logarithmically spaced."""
    half = torch.arange(4 * length - 3, device=like.device) - 2 * (length - 1)
    distance = half.to(like.dtype) * (SPAN / 2) / at_least_one(length - 1)
    sign = distance.sign()
    return sign * torch.log2(sign * distance + 1) / log2(SPAN)  # OpenVINO omits `abs` of what sizes determine


def _distances(index: Tensor, length: int, cells: int) -> Tensor:
    """Return the distances of positions (n, 1) to the centers of the cells along one axis, (n, cells), as indices.

    A cell consists of the positions that `adaptive_mean` averages; the index of -(L - 1) is 0, half a position is 1.
    """
    first, end = bin_limits(cells, length, index.device)
    return 2 * index - (first + end - 1).T + 2 * (length - 1)
