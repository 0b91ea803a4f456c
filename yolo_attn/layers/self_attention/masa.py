"""MaSA: Manhattan self-attention, whose logits decrease with the distance in rows plus columns, of RMT.

    q, k, v = W x                               at each position
    q', k': each pair of channels (2j, 2j + 1) of a head rotated by the angle n f_j
                                                n: position, row by row; f_j = 10000^(-j / (d/2 - 1))
    L = q' k'^T / sqrt(d) + log(g) (|dy| + |dx|)        in each head of d channels
    o = softmax(L) v                            over all positions; or decomposed: first over those of the row, with
                                                |dx|, then of the results over those of the column, with |dy|
    y = Wo (o + DW v)                           DW: depthwise convolution
    g = 1 - 2^(-a - b i / heads)                of head i = 0, 1, ...

Paper: Fan et al., "RMT: Retentive Networks Meet Vision Transformers", CVPR 2024, arXiv 2309.11523.
Code: https://github.com/qhfan/RMT (VisionRetentionChunk is the decomposed form, VisionRetentionAll the other one)
Shapes: x (B, C, H, W), y the same.
Cost: decomposed C HW (H + W); else quadratic in time, not in memory.
Deviations: none from the code. In the paper, the weights after the softmax decrease with the distance. Angles depend on
the width of the map, because positions are counted along rows; `rotation=False` omits them, as copies named MaSA and
MaSAd do. An odd last channel of a head is not rotated. The number of heads is reduced to its greatest common divisor
with C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag, check_integer, check_odd, check_positive
from yolo_attn.layers.numerics import wide
from yolo_attn.layers.self_attention._rotation import rotate
from yolo_attn.layers.self_attention._tokens import attend, chunked, token_positions
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["MaSA"]

BASE = 10000
"""Base of the wavelengths of the rotation."""
GAIN = 2**-2.5
"""Gain of the initial queries, keys and values."""


@register_layer(
    family="self_attention",
    summary="self-attention that decreases with the distance in rows and columns, along rows and then columns",
    paper="RMT: Retentive Networks Meet Vision Transformers, CVPR 2024",
    year=2023,
    url="https://arxiv.org/abs/2309.11523",
    repository="https://github.com/qhfan/RMT",
    cost="O(C^2 HW + C HW (H + W))",
    renamed={"initial_value": "first_decay", "heads_range": "decay_range", "num_heads": "heads"},
)
class MaSA(Mixer):
    """Manhattan self-attention.

    Args:
        channels: Channels of the input.
        heads: Number of heads, reduced to the greatest common divisor with the channels.
        decomposed: Whether attention is along rows and then columns, instead of over all positions at once.
        rotation: Whether queries and keys are rotated by their positions.
        first_decay: a of the formula.
        decay_range: b of the formula.
        kernel_size: Kernel size of the depthwise convolution, odd.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 8,
        decomposed: bool = True,
        rotation: bool = True,
        first_decay: float = 2,
        decay_range: float = 4,
        kernel_size: int = 5,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads)
        check_flag(self, decomposed=decomposed, rotation=rotation)
        check_positive(self, first_decay=first_decay, decay_range=decay_range)
        check_odd(self, kernel_size=kernel_size)
        self.heads = fitting_groups(channels, heads)
        self.decomposed = decomposed
        self.rotation = rotation
        self.first_decay = first_decay
        self.decay_range = decay_range
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.dwconv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.proj = nn.Conv2d(channels, channels, 1)
        for conv in (self.query, self.key, self.value):
            nn.init.xavier_normal_(conv.weight, gain=GAIN)
        nn.init.xavier_normal_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]

    def mix(self, x: Tensor) -> Tensor:
        """Return the contexts plus the convolution of the values, projected."""
        value, contexts = self._attention(x)
        y: Tensor = self.proj(contexts(value) + self.dwconv(value))
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to all others."""
        return [Reading("", *self._attention(inputs[0]), self.heads)]

    def _attention(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the values (B, C, H, W), and the contexts as a function of them."""
        query, key = self.query(x), self.key(x)
        if self.rotation:
            query, key = self._rotate(query), self._rotate(key)

        def contexts(values: Tensor) -> Tensor:
            if not self.decomposed:
                return self._everywhere(query, key, values)
            rows = self._along_rows(query, key, values)
            query_, key_, rows = (t.transpose(2, 3) for t in (query, key, rows))
            return self._along_rows(query_, key_, rows).transpose(2, 3)

        return self.value(x), contexts

    def _along_rows(self, query: Tensor, key: Tensor, values: Tensor) -> Tensor:
        """Return the contexts (B, C, H, W) over the positions of each row."""
        b, c, height, width = values.shape
        split = (b, self.heads, c // self.heads, height, width)
        q, k, v = (t.reshape(split).permute(0, 3, 1, 4, 2).flatten(0, 1) for t in (query, key, values))
        index = torch.arange(width, device=values.device)
        distance = (index[:, None] - index).abs().to(wide(values.dtype))
        y = attend(q, k, v, bias=(self._decay(distance) * distance).to(q.dtype)[None])  # (B H, heads, W, d)
        return y.reshape(b, height, self.heads, width, -1).permute(0, 2, 4, 1, 3).reshape(values.shape)

    def _everywhere(self, query: Tensor, key: Tensor, values: Tensor) -> Tensor:
        """Return the contexts (B, C, H, W) over all positions."""
        b, c = values.shape[:2]
        split = (b, self.heads, c // self.heads, -1)
        q, k, v = (t.reshape(split).transpose(2, 3).contiguous() for t in (query, key, values))
        rows, columns = token_positions(values)

        def part(q: Tensor, row: Tensor, column: Tensor) -> Tensor:
            distance = ((row - rows.T).abs() + (column - columns.T).abs()).to(wide(q.dtype))
            return attend(q, k, v, bias=(self._decay(distance) * distance).to(q.dtype)[None])

        y = chunked(part, q, rows, columns, elements_per_query=(b + 1) * self.heads * q.shape[2])
        return y.transpose(2, 3).reshape(values.shape)

    def _decay(self, like: Tensor) -> Tensor:
        """Return log(g) of each head, (heads, 1, 1), with the dtype and device of `like`."""
        head = torch.arange(self.heads, device=like.device, dtype=like.dtype)
        exponent = -self.first_decay - head * (self.decay_range / self.heads)
        # OpenVINO does not know `exp2`.
        return torch.log1p(-torch.exp(exponent * log(2)))[:, None, None]

    def _rotate(self, x: Tensor) -> Tensor:
        """Return queries or keys (B, C, H, W), rotated by their positions."""
        b, c, height, width = x.shape
        depth = c // self.heads
        pair = torch.arange(depth // 2, device=x.device, dtype=wide(x.dtype))
        frequency = torch.pow(torch.full_like(pair, BASE), pair * (-1 / max(depth // 2 - 1, 1)))
        position = torch.arange(height * width, device=x.device).to(pair.dtype)
        angle = (frequency[:, None] * position).reshape(-1, height, width)
        by_head = x.reshape(b * self.heads, depth, height, width)
        turned = rotate(by_head[:, : depth // 2 * 2], angle.sin().to(x.dtype), angle.cos().to(x.dtype))
        if depth % 2:
            turned = torch.cat([turned, by_head[:, -1:]], 1)
        return turned.reshape(x.shape)
