"""S2: shifted copies of the map, mixed by attention over the copies, of S2-MLPv2.

    [x1, x2, x3] = W x                          C -> 3C, at each position
    x1: quarters of its channels shifted by one position down, up, right, left; x2: right, left, down, up; x3: unshifted
    a = sum over the three and over H, W        (B, C)
    p = softmax over the three of V2 gelu(V1 a) (B, 3, C)
    y = U (p1 x1 + p2 x2 + p3 x3)               C -> C, at each position

The border row or column that a shift leaves uncovered keeps its values.

Paper: Yu et al., "S2-MLPv2: Improved Spatial-Shift MLP Architecture for Vision", 2021, arXiv 2108.01072.
Code: none from the authors.
Shapes: x (B, C, H, W), y the same; weights(x) (B, 3, C).
Deviations: none. Third-party implementations shift in place over overlapping memory, which smears the first row or
column over the whole map. The sum over H, W grows with the map and saturates the softmax on large ones; `pool="mean"`
does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import AttentionValues, split_choices
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_choice
from yolo_attn.layers.numerics import no_autocast, total, wide
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["S2"]

HEIGHT, WIDTH = 2, 3


@register_layer(
    family="self_attention",
    summary="shifts quarters of the channels by one position and mixes the shifted copies by attention",
    aliases=("S2Attention", "S2MLPv2"),
    paper="S2-MLPv2: Improved Spatial-Shift MLP Architecture for Vision, 2021",
    year=2021,
    url="https://arxiv.org/abs/2108.01072",
    cost="O(C^2 HW)",
)
class S2(Mixer):
    """Spatial-shift attention.

    Args:
        channels: Channels of the input.
        pool: "sum" as in the paper, or "mean", which does not grow with the map.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, pool: str = "sum", init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_choice(self, "pool", pool, ("sum", "mean"))
        self.pool = pool
        self.expand = nn.Conv2d(channels, 3 * channels, 1)
        self.fc1 = nn.Linear(channels, channels, bias=False)
        self.fc2 = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the weighted sum of the shifted copies."""
        copies = self._copies(x)
        weights = self._copy_weights(copies).to(copies[0].dtype)[..., None, None]  # (B, 3, C, 1, 1)
        y: Tensor = self.proj(total(weights[:, n] * copy for n, copy in enumerate(copies)))
        return y

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the weights of each copy."""
        return split_choices("copy", self.weights(inputs[0]))

    def weights(self, x: Tensor) -> Tensor:
        """Return the weight of each copy for each channel, (B, 3, C)."""
        return self._copy_weights(self._copies(x))

    def _copies(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first, second, third = self.expand(x).chunk(3, 1)
        return shift(first, HEIGHT, WIDTH), shift(second, WIDTH, HEIGHT), third

    def _copy_weights(self, copies: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        height, width = copies[0].shape[2:]
        dtype = wide(copies[0].dtype)
        pooled = total(mean(copy, 2, 3, dtype=dtype) for copy in copies)
        if self.pool == "sum":
            pooled = pooled * (height * width)
        with no_autocast(copies[0]):  # the sum can exceed the range of float16
            hidden = F.gelu(F.linear(pooled, self.fc1.weight.to(dtype)))
            logits = F.linear(hidden, self.fc2.weight.to(dtype))
        # The softmax is over the last dimension, because that of MNN is wrong over the second of three.
        return logits.reshape(-1, 3, self.channels).transpose(1, 2).softmax(2).transpose(1, 2)


def shift(x: Tensor, first: int, second: int) -> Tensor:
    """Shift quarters of the channels by one position: +1 and -1 along one dimension, +1 and -1 along the other.

    Args:
        x: (B, C, H, W).
        first: Dimension of the first two quarters.
        second: Dimension of the last two quarters.
    """
    c = x.shape[1]
    bounds = 0, c // 4, c // 2, c * 3 // 4, c
    quarters = [x[:, low:high] for low, high in pairwise(bounds)]
    shifted = (
        _shift_forward(quarters[0], first),
        _shift_backward(quarters[1], first),
        _shift_forward(quarters[2], second),
        _shift_backward(quarters[3], second),
    )
    return torch.cat(shifted, 1)


def _shift_forward(x: Tensor, dim: int) -> Tensor:
    """Shift by +1; the first row or column is repeated."""
    return torch.cat([_part(x, dim, slice(None, 1)), _part(x, dim, slice(None, -1))], dim)


def _shift_backward(x: Tensor, dim: int) -> Tensor:
    """Shift by -1; the last row or column is repeated."""
    return torch.cat([_part(x, dim, slice(1, None)), _part(x, dim, slice(-1, None))], dim)


def _part(x: Tensor, dim: int, part: slice) -> Tensor:
    """Return a part of one dimension; NCNN has slices, but not `narrow`."""
    return x[(slice(None),) * dim + (part,)]
