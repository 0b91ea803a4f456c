"""PolaLinear: linear attention with separate terms for equal and opposite signs of query and key, of PolaFormer.

    q, k, v, g = W x                            at each position
    q, k <- ./softplus(s)                       s: a learned vector of C numbers
    t+ = relu(t)^e, t- = relu(-t)^e             e = 1 + alpha sigmoid(a), a: a learned number per channel
    o1 = attention of [q+; q-] to [k+; k-] with the first half of v             equal signs; in each head
    o2 = attention of [q-; q+] to [k+; k-] with the second half of v            opposite signs
    y = Wo (([o1; o2] + DW v) * g)              DW: a depthwise convolution whose kernels all heads share

    attention of a to b with v: (mean of v b^T) a / (mean of b . a + 1e-6)      means over positions

Paper: Meng et al., "PolaFormer: Polarity-aware Linear Attention for Vision Transformers", ICLR 2025, arXiv 2501.15061.
Code: https://github.com/ZacharyMeng/PolaFormer
Shapes: x (B, C, H, W), y the same.
Deviations: the code adds a learned table to the keys that fits a single, square map. Here it is optional
(`position_size`) and resized to the map; on a map of its size the result is the authors'. Powers and sums are computed
in float32; the code gives NaN in float16. The number of heads is reduced to its greatest common divisor with C.
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
from yolo_attn.layers.numerics import saturate, widen
from yolo_attn.layers.self_attention._linear import (
    KeyPositions,
    check_position_size,
    linear_contexts,
    per_head,
    shared_convolution,
)
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["PolaLinear"]

EPS = 1e-6
LEAST = 1e-20
"""Positive zero, whose power NCNN computes as NaN; its own power is 0 too, next to `EPS`."""
PARTS = ("equal signs", "opposite signs")


@register_layer(
    family="self_attention",
    summary="linear attention with separate terms for equal and opposite signs of query and key",
    aliases=("PolaLinearAttention",),
    paper="PolaFormer: Polarity-aware Linear Attention for Vision Transformers, ICLR 2025",
    year=2025,
    url="https://arxiv.org/abs/2501.15061",
    repository="https://github.com/ZacharyMeng/PolaFormer",
    cost="O(C^2 HW)",
    renamed={"num_heads": "heads"},
)
class PolaLinear(Mixer):
    """Polarity-aware linear attention.

    Args:
        channels: Channels of the input.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        alpha: Range of the learned exponents, which are between 1 and 1 + alpha.
        kernel_size: Kernel size of the depthwise convolution, odd.
        qkv_bias: Whether queries, keys, values and g have a bias.
        position_size: Height and width of a learned table added to the keys, resized to the map; None for no table.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 8,
        alpha: float = 4,
        kernel_size: int = 5,
        qkv_bias: bool = True,
        position_size: Sequence[int] | None = None,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads)
        check_positive(self, alpha=alpha)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, qkv_bias=qkv_bias)
        check_position_size(self, position_size)
        self.heads = fitting_groups(channels, heads)
        self.alpha = alpha
        width = channels // self.heads
        self.qkvg = nn.Conv2d(channels, 4 * channels, 1, bias=qkv_bias)
        self.positions = None if position_size is None else KeyPositions(channels, position_size)
        self.scale = nn.Parameter(torch.zeros(channels))
        self.power = nn.Parameter(torch.zeros(channels))
        self.dwconv = nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the contexts plus the convolution of the values, times g, projected."""
        value, factor, halves = self._attention(x)
        context = torch.cat([per_head(contexts(v), self.heads) for v, contexts in halves], 2).reshape(value.shape)
        return saturate(self.proj(saturate((context + shared_convolution(self.dwconv, value, self.heads)) * factor)))

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to all others, by equal signs and by opposite ones."""
        halves = self._attention(inputs[0])[2]
        return [Reading(part, *half, self.heads) for part, half in zip(PARTS, halves, strict=False)]

    def _attention(self, x: Tensor) -> tuple[Tensor, Tensor, list[tuple[Tensor, Callable[[Tensor], Tensor]]]]:
        """Return the values (B, C, H, W), g, and each half of the values with the contexts as a function of it."""
        query, key, value, factor = self.qkvg(x).chunk(4, 1)
        key = key if self.positions is None else self.positions(key)
        (plus, minus), k = self._signs(query), torch.cat(self._signs(key), 2)
        same = partial(linear_contexts, torch.cat([plus, minus], 2), k, eps=EPS)
        opposite = partial(linear_contexts, torch.cat([minus, plus], 2), k, eps=EPS)
        width = self.channels // self.heads
        halves = torch.split(per_head(value, self.heads), (width + 1) // 2, 2)  # a head of one channel has one half
        maps = (half.reshape(x.shape[0], -1, *x.shape[2:]) for half in halves)
        return value, factor, list(zip(maps, (same, opposite), strict=False))

    def _signs(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the powers of the positive and negative parts, (B, heads, d, N) each, in at least float32."""
        t = widen(t) / F.softplus(widen(self.scale))[:, None, None]
        exponent = (1 + self.alpha * torch.sigmoid(widen(self.power)))[:, None, None]
        plus, minus = (per_head(part.clamp(min=LEAST) ** exponent, self.heads) for part in (t, -t))
        return plus, minus
