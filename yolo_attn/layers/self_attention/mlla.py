"""MLLA: the linear attention of Mamba-like linear attention, with rotary and convolutional positions.

    q = elu(Wq x) + 1, k = elu(Wk x) + 1        at each position; the values are x itself
    R: a rotation of each pair of channels by the angle y f_j for the first half of the pairs, x f_j for the second;
       f_j = 10000^(-j / (C / 4)), j = 0 ... C / 4 - 1
    o = (mean of x (R k)^T) R q / (mean of k . q + 1e-6)        in each head, means over positions
    y = o + DW x                                DW: a depthwise convolution

Paper: Han et al., "Demystify Mamba in Vision: A Linear Attention Perspective", NeurIPS 2024, arXiv 2405.16605.
Code: https://github.com/LeapLabTHU/MLLA
Shapes: x (B, C, H, W), y the same. C must be a multiple of 4.
Deviations: angles are computed for the size of the map, where the code has a table for a single, square one, and
everything up to o in float32, where the code fails in half precision. The number of heads is reduced to its greatest
common divisor with C. Projections of values and outputs belong to the paper's block, as in the code. Copies that read
the map as if channels were its last dimension compute something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_flag, check_integer, check_odd
from yolo_attn.layers.numerics import widen
from yolo_attn.layers.self_attention._linear import gathered, per_head, totals
from yolo_attn.layers.self_attention._rotation import rotate
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["MLLA"]

EPS = 1e-6
BASE = 10000
"""Base of the wavelengths of the rotation."""


@register_layer(
    family="self_attention",
    summary="linear attention with rotated queries and keys, plus a depthwise convolution",
    paper="Demystify Mamba in Vision: A Linear Attention Perspective, NeurIPS 2024",
    year=2024,
    url="https://arxiv.org/abs/2405.16605",
    repository="https://github.com/LeapLabTHU/MLLA",
    cost="O(C^2 HW)",
    renamed={"num_heads": "heads"},
)
class MLLA(Mixer):
    """Linear attention of MLLA.

    Args:
        channels: Channels of the input, a multiple of 4.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        kernel_size: Kernel size of the depthwise convolution, odd.
        qkv_bias: Whether queries and keys have a bias.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range, or the channels are not a multiple of 4.
    """

    def __init__(
        self, channels: int, *, heads: int = 8, kernel_size: int = 3, qkv_bias: bool = True, init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        check(self, channels % 4 == 0, "channels", channels, "a multiple of 4")
        check_integer(self, heads=heads)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, qkv_bias=qkv_bias)
        self.heads = fitting_groups(channels, heads)
        self.query_key = nn.Conv2d(channels, 2 * channels, 1, bias=qkv_bias)
        self.dwconv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)

    def mix(self, x: Tensor) -> Tensor:
        """Return the contexts plus the convolution of x."""
        y: Tensor = self._contexts(x, x) + self.dwconv(x)
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to all others."""
        x = inputs[0]
        return [Reading("", x, partial(self._contexts, x), self.heads)]

    def _contexts(self, x: Tensor, values: Tensor) -> Tensor:
        """Return the values (B, C, H, W) mixed by the attention of x."""
        query, key = (F.elu(widen(t)) + 1 for t in self.query_key(x).chunk(2, 1))
        sine, cosine = self._waves(query)
        q, k, turned_q, turned_k = (
            per_head(t, self.heads) for t in (query, key, rotate(query, sine, cosine), rotate(key, sine, cosine))
        )
        mixed = gathered(turned_q, turned_k, per_head(values, self.heads)) / (totals(q, k) + EPS)
        return mixed.reshape(values.shape).to(values.dtype)

    def _waves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return sine and cosine of the angle of each pair of channels at each position, (C / 2, H, W)."""
        height, width = x.shape[2:]
        count = self.channels // 4
        pair = torch.arange(count, device=x.device, dtype=x.dtype)
        frequency = torch.pow(torch.full_like(pair, BASE), pair * (-1 / count))[:, None, None]
        rows = torch.arange(height, device=x.device, dtype=x.dtype)[:, None] * frequency
        columns = torch.arange(width, device=x.device, dtype=x.dtype) * frequency
        angle = torch.cat([rows.expand(-1, -1, width), columns.expand(-1, height, -1)])
        return angle.sin(), angle.cos()
