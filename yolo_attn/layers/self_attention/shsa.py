"""SHSA: single-head self-attention on a part of the channels, of SHViT.

    [x1; x2] = x                                x1: the first p channels
    [q; k; v] = BN W GN(x1)                     GN: one group; 16, 16 and p channels
    o = softmax(q k^T / sqrt(16)) v             one head, over all positions
    y = x + BN Wo relu [o; x2]                  the last BN has a zero-initialized weight

Paper: Yun and Ro, "SHViT: Single-Head Vision Transformer with Memory Efficient Macro Design", CVPR 2024,
arXiv 2401.16456.
Code: https://github.com/ysj9909/SHViT
Shapes: x (B, C, H, W), y the same.
Cost: time is quadratic in HW; memory is not.
Deviations: x is added as around the authors' module. p is C / 4.67, as in most of their models.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_at_least_one, check_integer
from yolo_attn.layers.norms import BatchNorm, GroupNorm
from yolo_attn.layers.self_attention._tokens import attend_any_width, to_map, to_tokens
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.registry import register_layer

__all__ = ["SHSA"]


@register_layer(
    family="self_attention",
    summary="self-attention with one head on a part of the channels; quadratic",
    paper="SHViT: Single-Head Vision Transformer with Memory Efficient Macro Design, CVPR 2024",
    year=2024,
    url="https://arxiv.org/abs/2401.16456",
    repository="https://github.com/ysj9909/SHViT",
    cost="O(C^2 HW + C (HW)^2)",
    identity="published: weight of the last norm 0",
    renamed={"qk_dim": "key_width"},
)
class SHSA(Mixer):
    """Single-head self-attention; the identity with either initialization.

    Args:
        channels: Channels of the input.
        key_width: Channels of queries and of keys.
        reduction: Channels per channel of the part that attends, at least 1.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    identity_at_init = True

    def __init__(self, channels: int, *, key_width: int = 16, reduction: float = 4.67, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_integer(self, key_width=key_width)
        check_at_least_one(self, reduction=reduction)
        self.part = hidden_width(channels, reduction)
        self.key_width = key_width
        width = 2 * key_width + self.part
        self.norm = GroupNorm(1, self.part)
        self.qkv = nn.Sequential(nn.Conv2d(self.part, width, 1, bias=False), BatchNorm(width))
        self.proj = nn.Conv2d(channels, channels, 1, bias=False)
        self.proj_norm = BatchNorm(channels)
        nn.init.zeros_(self.proj_norm.weight)

    def mix(self, x: Tensor) -> Tensor:
        """Return x plus the projection of the contexts and the other channels."""
        query, key, value = self._parts(x)
        joined = torch.cat([_contexts(query, key, value), x[:, self.part :].to(value.dtype)], 1)
        y: Tensor = x + self.proj_norm(self.proj(torch.relu(joined)))
        return y

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to all others."""
        query, key, value = self._parts(inputs[0])
        return [Reading("", value, partial(_contexts, query, key))]

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, maps of different widths."""
        sizes = (self.key_width, self.key_width, self.part)
        query, key, value = self.qkv(self.norm(x[:, : self.part])).split(sizes, 1)
        return query, key, value


def _contexts(query: Tensor, key: Tensor, values: Tensor) -> Tensor:
    """Return the context of each position, a map like the values."""
    q, k, v = (to_tokens(t)[:, None] for t in (query, key, values))
    return to_map(attend_any_width(q, k, v)[:, 0], values)
