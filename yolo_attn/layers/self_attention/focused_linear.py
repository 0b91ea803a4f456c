"""FocusedLinear: linear attention whose features are sharpened by a power, of FLatten Transformer.

    q, k, v = W x                               at each position
    q, k <- (relu(.) + 1e-6) / softplus(s)      s: a learned vector of C numbers
    phi(t) = |t| t^p / |t^p|                    |.|: length over all C channels
    o = (mean of v phi(k)^T) phi(q) / (mean of phi(k) . phi(q) + 1e-6)          in each head, means over positions
    y = Wo (o + DW v)                           DW: a depthwise convolution whose kernels all heads share

Paper: Han et al., "FLatten Transformer: Vision Transformer using Focused Linear Attention", ICCV 2023,
arXiv 2308.00442.
Code: https://github.com/LeapLabTHU/FLatten-Transformer
Shapes: x (B, C, H, W), y the same.
Deviations: the code adds a learned table to the keys that fits a single, square map. Here it is optional
(`position_size`) and resized to the map; on a map of its size the result is the authors'. Some copies create it in
every forward pass, so it is always zero. Features and sums are computed in float32, and the power of features relative
to their largest one, with equal results; the code gives NaN in float16. The number of heads is reduced to its greatest
common divisor with C.
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
from yolo_attn.layers.numerics import length, widen
from yolo_attn.layers.self_attention._linear import (
    KeyPositions,
    check_position_size,
    linear_contexts,
    per_head,
    shared_convolution,
)
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["FocusedLinear"]

EPS = 1e-6


@register_layer(
    family="self_attention",
    summary="linear attention with features sharpened by a power, plus a depthwise convolution",
    aliases=("FocusedLinearAttention",),
    paper="FLatten Transformer: Vision Transformer using Focused Linear Attention, ICCV 2023",
    year=2023,
    url="https://arxiv.org/abs/2308.00442",
    repository="https://github.com/LeapLabTHU/FLatten-Transformer",
    cost="O(C^2 HW)",
    renamed={"focusing_factor": "power", "num_heads": "heads"},
)
class FocusedLinear(Mixer):
    """Focused linear attention.

    Args:
        channels: Channels of the input.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        power: p, by which features are sharpened.
        kernel_size: Kernel size of the depthwise convolution, odd.
        qkv_bias: Whether queries, keys and values have a bias.
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
        power: float = 3,
        kernel_size: int = 5,
        qkv_bias: bool = True,
        position_size: Sequence[int] | None = None,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads)
        check_positive(self, power=power)
        check_odd(self, kernel_size=kernel_size)
        check_flag(self, qkv_bias=qkv_bias)
        check_position_size(self, position_size)
        self.heads = fitting_groups(channels, heads)
        self.power = power
        width = channels // self.heads
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=qkv_bias)
        self.positions = None if position_size is None else KeyPositions(channels, position_size)
        self.scale = nn.Parameter(torch.zeros(channels))
        self.dwconv = nn.Conv2d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the contexts plus the convolution of the values, projected."""
        value, contexts = self._attention(x)
        y: Tensor = self.proj(contexts(value) + shared_convolution(self.dwconv, value, self.heads))
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to all others."""
        return [Reading("", *self._attention(inputs[0]), self.heads)]

    def _attention(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the values (B, C, H, W), and the contexts as a function of them."""
        query, key, value = self.qkv(x).chunk(3, 1)
        key = key if self.positions is None else self.positions(key)
        q, k = (per_head(self._focus(t), self.heads) for t in (query, key))
        return value, partial(linear_contexts, q, k, eps=EPS)

    def _focus(self, t: Tensor) -> Tensor:
        """Return the features of queries or keys (B, C, H, W), in at least float32."""
        t = (torch.relu(widen(t)) + EPS) / F.softplus(widen(self.scale))[:, None, None]
        sharp = (t / t.detach().amax(1, keepdim=True)) ** self.power  # a direction, to which no scale matters
        lengths = [length(v, 1) for v in (t, sharp)]
        y: Tensor = sharp * (lengths[0] / lengths[1])
        return y
