"""CloAttention: some heads gate values by a local product of queries and keys, others attend to a pooled map.

Local heads, one group for each kernel size:
    [q; k; v] = DW Wj x                         DW: depthwise convolution with biases
    o_j = tanh(W2 silu(W1 (q * k)) / sqrt(d)) * v       W1, W2: within the group; d: channels of a head

Global heads:
    q = Wq x; [k; v] = Wkv (means of s x s positions of x)
    o_0 = softmax(q k^T / sqrt(d)) v            in each head

    y = Wo [o_1; ...; o_m; o_0]

Paper: Fan et al., "Rethinking Local Perception in Lightweight Vision Transformer", 2023, arXiv 2303.17803.
Code: https://github.com/qhfan/CloFormer
Shapes: x (B, C, H, W), y the same.
Cost: the global heads are quadratic, divided by s^2; the authors halve s at each stage, from 8 to 1.
Deviations: any map size works: means are those of the positions on the map. In the code, a map that is not a multiple
of s raises an error, or mixes the global heads without one. The number of heads is reduced to its greatest common
divisor with C, and the local heads are divided among the kernels as evenly as possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_flag, check_integer, check_odd_list
from yolo_attn.layers.numerics import saturate
from yolo_attn.layers.self_attention._tokens import attend, join_heads, split_heads, to_map, to_tokens
from yolo_attn.layers.sizes import fitting_groups
from yolo_attn.registry import register_layer

__all__ = ["CloAttention"]


@register_layer(
    family="self_attention",
    summary="some heads gate values by local products of queries and keys, others attend to a pooled map",
    paper="Rethinking Local Perception in Lightweight Vision Transformer, 2023",
    year=2023,
    url="https://arxiv.org/abs/2303.17803",
    repository="https://github.com/qhfan/CloFormer",
    cost="O(C^2 HW + C (HW / s)^2)",
    renamed={"num_heads": "heads", "window_size": "pool"},
)
class CloAttention(Mixer):
    """Attention of CloFormer.

    Args:
        channels: Channels of the input.
        heads: Number of all heads, reduced to the greatest common divisor with the channels.
        alpha: Fraction of global heads, from 0 to 1; their number is rounded down.
        kernel_sizes: Kernel sizes of the groups of local heads, odd.
        pool: s, height and width of the pooled cells that the global heads attend to.
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
        alpha: float = 0.5,
        kernel_sizes: Sequence[int] = (5,),
        pool: int = 4,
        qkv_bias: bool = True,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_integer(self, heads=heads, pool=pool)
        good = isinstance(alpha, (int, float)) and not isinstance(alpha, bool) and 0 <= alpha <= 1
        check(self, good, "alpha", alpha, "a number from 0 to 1")
        check_odd_list(self, [5], kernel_sizes=kernel_sizes)
        check_flag(self, qkv_bias=qkv_bias)
        heads = fitting_groups(channels, heads)
        self.depth = channels // heads
        global_heads = int(heads * alpha)
        counts = _shares(heads - global_heads, len(kernel_sizes))
        self.local_branches = nn.ModuleList(
            _Local(channels, count * self.depth, self.depth, kernel, qkv_bias)
            for count, kernel in zip(counts, kernel_sizes, strict=True)
            if count
        )
        self.global_branch = _Global(channels, global_heads, self.depth, pool, qkv_bias) if global_heads else None
        self.proj = nn.Conv2d(channels, channels, 1)

    def mix(self, x: Tensor) -> Tensor:
        """Return the projected outputs of all heads."""
        outputs = [branch(x) for branch in self.local_branches]
        if self.global_branch is not None:
            outputs.append(self.global_branch(x))
        y: Tensor = self.proj(torch.cat(outputs, 1))
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of the global heads."""
        return [] if self.global_branch is None else [self.global_branch.reading(inputs[0])]


def _shares(count: int, parts: int) -> list[int]:
    """Return a count divided into parts that differ by at most one."""
    return [(n + 1) * count // parts - n * count // parts for n in range(parts)]


class _Local(nn.Module):
    """Values gated by a product of their neighborhoods' queries and keys: (B, C, H, W) to (B, width, H, W)."""

    def __init__(self, channels: int, width: int, depth: int, kernel: int, bias: bool) -> None:
        super().__init__()
        self.scale = depth**-0.5
        self.qkv = nn.Conv2d(channels, 3 * width, 1, bias=bias)
        self.dwconv = nn.Conv2d(3 * width, 3 * width, kernel, padding=kernel // 2, groups=3 * width)
        self.gate = nn.Sequential(nn.Conv2d(width, width, 1), nn.SiLU(), nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.dwconv(self.qkv(x)).chunk(3, 1)
        hidden = saturate(self.gate[0](saturate(query * key)))  # silu of minus infinity is NaN
        y: Tensor = torch.tanh(self.gate[1:](hidden) * self.scale) * value
        return y


class _Global(nn.Module):
    """Attention to a pooled map: (B, C, H, W) to (B, heads * depth, H, W)."""

    def __init__(self, channels: int, heads: int, depth: int, pool: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pool = pool
        self.query = nn.Conv2d(channels, heads * depth, 1, bias=bias)
        self.key_value = nn.Conv2d(channels, 2 * heads * depth, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        key, value = self._keys_and_values(x)
        return self._attend(self.query(x), key, value)

    def reading(self, x: Tensor) -> Reading:
        key, value = self._keys_and_values(x)
        contexts = partial(self._attend, self.query(x), key)
        return Reading("global heads", value, contexts, self.heads, step=self.pool)

    def _keys_and_values(self, x: Tensor) -> Sequence[Tensor]:
        """Return keys and values of the cells, each (B, heads * depth, rows, columns)."""
        means = x if self.pool == 1 else F.avg_pool2d(x, self.pool, ceil_mode=True, count_include_pad=False)
        parts: Sequence[Tensor] = self.key_value(means).chunk(2, 1)
        return parts

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the context of each position, (B, heads * depth, H, W)."""
        # The fused kernels require the channels of a head to be contiguous.
        parts = (split_heads(to_tokens(part), self.heads).contiguous() for part in (query, key, value))
        return to_map(join_heads(attend(*parts)), query)
