"""ACmix: self-attention in 7 x 7 windows and a convolution that share their projections.

    q, k, v = Wq x, Wk x, Wv x                  in h heads of d channels
    a_pj = softmax over j of q_p . (k_(p+j) + P (l_p - l_(p+j))) / sqrt(d)      j: the window; l: coordinates, -1 to 1
    s = sum over j of a_pj v_(p+j)
    f = F [q; k; v]                             3 h -> 9 maps for each of the d channels of a head
    c = grouped conv3 of f                      initialized to nine shifts, one per map
    y = r1 s + r2 c                             r1, r2: learned scalars, initialized to 0.5

Keys, values and coordinates are padded by reflection.

Paper: Pan et al., "On the Integration of Self-Attention and Convolution", CVPR 2022, arXiv 2111.14556.
Code: https://github.com/LeapLabTHU/ACmix
Shapes: x (B, C, H, W), y the same.
Deviations: P has no bias, because the difference cancels it. The grouped convolution has none, as in the code, where an
assignment discards it. Logits and softmax are in float32. Maps narrower than the padding are reflected more than once,
where the published form raises an error. The number of heads is reduced to its greatest common divisor with C.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer, check_odd
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.layers.self_attention._neighbor_sums import dot_products, weighted_sum
from yolo_attn.layers.self_attention._neighborhood import reflect
from yolo_attn.layers.self_attention._tokens import axis_coordinates
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["ACmix"]

RATE = 0.5  # initial weight of each path


@register_layer(
    family="self_attention",
    summary="adds 7 x 7 window attention and a convolution that share their projections",
    aliases=("ACMix",),
    paper="On the Integration of Self-Attention and Convolution, CVPR 2022",
    year=2022,
    url="https://arxiv.org/abs/2111.14556",
    repository="https://github.com/LeapLabTHU/ACmix",
    cost="O((C + k^2) C HW)",
    renamed={"kernel_att": "window", "head": "heads", "kernel_conv": "kernel_size"},
)
class ACmix(Mixer):
    """Self-attention and convolution, mixed.

    Args:
        channels: Channels of the input.
        window: Height and width of the attention window, odd.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        kernel_size: Height and width of the convolution, odd.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, channels: int, *, window: int = 7, heads: int = 4, kernel_size: int = 3, init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        check_odd(self, window=window, kernel_size=kernel_size)
        check_integer(self, heads=heads)
        self.heads = fitting_groups(channels, heads)
        self.window = window
        depth, square = channels // self.heads, kernel_size**2
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.position = nn.Conv2d(2, depth, 1, bias=False)
        self.fc = nn.Conv2d(3 * self.heads, square, 1, bias=False)
        self.dwconv = nn.Conv2d(
            square * depth, channels, kernel_size, padding=kernel_size // 2, groups=depth, bias=False
        )
        self.rate_attention = nn.Parameter(torch.full((1,), RATE))
        self.rate_convolution = nn.Parameter(torch.full((1,), RATE))
        with torch.no_grad():
            self.dwconv.weight.copy_(torch.eye(square).reshape(square, kernel_size, kernel_size))

    def mix(self, x: Tensor) -> Tensor:
        """Return the weighted sum of both paths."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        attended = self._attend(self._weights(query, key), value)
        convolved = self._convolve(query, key, value)
        return torch.addcmul(convolved, self.rate_attention.to(attended.dtype), attended)

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to their windows."""
        x = inputs[0]
        weights = self._weights(self.query(x), self.key(x))
        return [Reading("", self.value(x), partial(self._attend, weights), self.heads)]

    def _weights(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the weight of each neighbor, (B, heads, k k, H, W).

        q_p . P l_p is the same for all neighbors of a position, so it is left out: the softmax cancels it.
        """
        position = self.position(_coordinates(query))  # (1, d, H, W)
        with no_autocast(query):
            keys = (self._heads(widen(key)) - widen(position)[:, None]) * position.shape[1] ** -0.5
            padded = self._heads(reflect(keys.flatten(1, 2), self.window // 2))
            return dot_products(self._heads(widen(query)), padded, self.window).softmax(2)

    def _attend(self, weights: Tensor, value: Tensor) -> Tensor:
        padded = self._heads(reflect(value, self.window // 2))
        return weighted_sum(weights.to(value.dtype), padded, self.window).reshape(value.shape)

    def _convolve(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return r2 c; F, r2 and the grouped convolution are a single convolution, because all are linear."""
        stacked = torch.cat([self._heads(x).transpose(1, 2) for x in (query, key, value)], 2)  # (B, d, 3 heads, H, W)
        kernel = self.fc.weight.flatten(1).T @ self.dwconv.weight.flatten(2)  # (C, 3 heads, k k)
        kernel = (self.rate_convolution * kernel).reshape(*kernel.shape[:2], *self.dwconv.kernel_size)
        return F.conv2d(stacked.flatten(1, 2), kernel, padding=self.dwconv.padding, groups=stacked.shape[1])

    def _heads(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) as (B, heads, d, H, W)."""
        b, c, h, w = x.shape
        return x.reshape(b, self.heads, c // self.heads, h, w)


def _coordinates(x: Tensor) -> Tensor:
    """Return the column and row of each position, from -1 to 1, as (1, 2, H, W)."""
    row, column = (axis_coordinates(x.shape[dim], x) for dim in (2, 3))
    rows, columns = torch.meshgrid(row, column, indexing="ij")
    return torch.stack([columns, rows])[None]
