"""HiLo: some heads attend within small windows, the others to the means of all windows.

HiFi, (1 - alpha) of the heads: self-attention among the s x s positions of a window.
LoFi, alpha of the heads: each position attends to the means of all windows, HW / s^2 keys.

    y = [Wh hifi(x); Wl lofi(x)]                channels of HiFi first; logits are scaled by d^-0.5, d = C / heads

Paper: Pan et al., "Fast Vision Transformers with HiLo Attention", NeurIPS 2022, arXiv 2205.13213.
Code: https://github.com/ziplab/LITv2
Shapes: x (B, C, H, W), y the same.
Cost: LoFi is quadratic, divided by s^2; place it at stride 16 or 32, or use larger windows.
Deviations: windows at the border may be smaller, where the authors' module raises an error: positions beyond the map
are masked and excluded from means. The number of heads is reduced to its greatest common divisor with C. A single head
is HiFi unless alpha is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_flag, check_integer
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.layers.self_attention._tokens import attend, split_heads, to_tokens
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["HiLo"]


@register_layer(
    family="self_attention",
    summary="some heads attend within small windows, the others to the means of all windows",
    aliases=("HiLoAttention",),
    paper="Fast Vision Transformers with HiLo Attention, NeurIPS 2022",
    year=2022,
    url="https://arxiv.org/abs/2205.13213",
    repository="https://github.com/ziplab/LITv2",
    cost="O(C^2 HW + C (HW / s)^2)",
    renamed={"window_size": "window"},
)
class HiLo(Mixer):
    """High and low frequency attention.

    Args:
        channels: Channels of the input.
        heads: Number of all heads, reduced to the greatest common divisor with the channels.
        window: s, height and width of the windows; with 1 all heads are LoFi, which is plain self-attention.
        alpha: Fraction of LoFi heads, from 0 to 1; their number is rounded down.
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
        window: int = 2,
        alpha: float = 0.5,
        qkv_bias: bool = False,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads, window=window)
        good = isinstance(alpha, (int, float)) and not isinstance(alpha, bool) and 0 <= alpha <= 1
        check(self, good, "alpha", alpha, "a number from 0 to 1")
        check_flag(self, qkv_bias=qkv_bias)
        heads = fitting_groups(channels, heads)
        low_heads = heads if window == 1 else int(heads * alpha)
        depth = channels // heads
        self.high = _HiFi(channels, heads - low_heads, depth, window, qkv_bias) if low_heads < heads else None
        self.low = _LoFi(channels, low_heads, depth, window, qkv_bias) if low_heads else None

    def mix(self, x: Tensor) -> Tensor:
        """Return the concatenated outputs of both kinds of heads."""
        return torch.cat([branch(x) for branch in (self.high, self.low) if branch is not None], 1)

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of both kinds of heads."""
        return [branch.reading(inputs[0]) for branch in (self.high, self.low) if branch is not None]


class _HiFi(nn.Module):
    """Self-attention within windows: (B, C, H, W) to (B, heads * depth, H, W)."""

    def __init__(self, channels: int, heads: int, depth: int, window: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.qkv = nn.Conv2d(channels, 3 * heads * depth, 1, bias=bias)
        self.proj = nn.Conv2d(heads * depth, heads * depth, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).chunk(3, 1)
        y: Tensor = self.proj(self._attend(query, key, value))
        return y

    def reading(self, x: Tensor) -> Reading:
        query, key, value = self.qkv(x).chunk(3, 1)
        return Reading("HiFi", value, partial(self._attend, query, key), self.heads)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the context of each position, (B, heads * depth, H, W)."""
        b, _, height, width = value.shape
        s, heads = self.window, self.heads
        inside = _inside(value, s)
        rows, columns = inside.shape[:2]
        query, key, value = (self._tokens(t) for t in (query, key, value))
        with no_autocast(query):
            logits = widen(query) @ widen(key).transpose(-2, -1) * query.shape[-1] ** -0.5
        logits = logits.masked_fill(~inside, float("-inf"))
        context = logits.softmax(-1).to(value.dtype) @ value
        maps = context.reshape(b, rows, columns, heads, s, s, -1).permute(0, 3, 6, 1, 4, 2, 5)
        y: Tensor = maps.reshape(b, -1, rows * s, columns * s)[:, :, :height, :width]
        return y

    def _tokens(self, x: Tensor) -> Tensor:
        """Return (B, heads * d, H, W) by window and head, (B, rows, columns, heads, s s, d)."""
        windows = _windows(x, self.window)  # (B, heads d, rows, columns, s s)
        return windows.reshape(x.shape[0], self.heads, -1, *windows.shape[2:]).permute(0, 3, 4, 1, 5, 2)


class _LoFi(nn.Module):
    """Attention to the means of windows: (B, C, H, W) to (B, heads * depth, H, W)."""

    def __init__(self, channels: int, heads: int, depth: int, window: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.query = nn.Conv2d(channels, heads * depth, 1, bias=bias)
        self.key_value = nn.Conv2d(channels, 2 * heads * depth, 1, bias=bias)
        self.proj = nn.Conv2d(heads * depth, heads * depth, 1)

    def forward(self, x: Tensor) -> Tensor:
        key, value = self._keys_and_values(x)
        y: Tensor = self.proj(self._attend(self.query(x), key, value))
        return y

    def reading(self, x: Tensor) -> Reading:
        key, value = self._keys_and_values(x)
        return Reading("LoFi", value, partial(self._attend, self.query(x), key), self.heads, step=self.window)

    def _keys_and_values(self, x: Tensor) -> Sequence[Tensor]:
        """Return keys and values of the windows, each (B, heads * depth, rows, columns)."""
        inside = _inside(x, self.window)[:, :, 0, 0].to(x.dtype)  # (rows, columns, s s)
        means = _windows(x, self.window).sum(4) / inside.sum(2)
        parts: Sequence[Tensor] = self.key_value(means).chunk(2, 1)
        return parts

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the context of each position, (B, heads * depth, H, W)."""
        b, _, height, width = query.shape
        # The fused kernels require the channels of a head to be contiguous.
        parts = (split_heads(to_tokens(part), self.heads).contiguous() for part in (query, key, value))
        return attend(*parts).transpose(2, 3).reshape(b, -1, height, width)


def _windows(x: Tensor, s: int) -> Tensor:
    """Return the windows of a map, (B, C, rows, columns, s * s), with zeros beyond its border."""
    b, c, h, w = x.shape
    x = F.pad(x, (0, -w % s, 0, -h % s))
    x = x.reshape(b, c, x.shape[2] // s, s, x.shape[3] // s, s)
    return x.transpose(3, 4).flatten(4)


def _inside(x: Tensor, s: int) -> Tensor:
    """Return a mask of the positions of each window that are on the map, (rows, columns, 1, 1, s * s)."""
    return _windows(torch.ones_like(x[:1, :1]), s)[0, 0, :, :, None, None] > 0
