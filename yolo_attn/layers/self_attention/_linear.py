"""Linear attention: a product of positive features of queries and keys replaces the softmax.

    c_n = (V K^T q_n) / (sum over m of k_m . q_n)               m, n: positions; V K^T (d, d) in each head

The d x d product is computed once, so the cost is linear in the map.

Paper: Katharopoulos et al., arXiv 2006.16236.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.checks import check, is_positive_integer
from yolo_attn.layers.numerics import no_autocast, widen

__all__ = ["KeyPositions", "check_position_size", "gathered", "per_head", "shared_convolution", "totals"]

AXES = 2


def per_head(x: Tensor, heads: int) -> Tensor:
    """Return a map (B, C, H, W) as (B, heads, C / heads, HW)."""
    b, c = x.shape[:2]
    return x.reshape(b, heads, c // heads, -1)


def gathered(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return the mean over m of v_m (k_m . q_n), (B, heads, any, N), in at least float32.

    Args:
        query: (B, heads, d, N).
        key: (B, heads, d, M).
        value: (B, heads, any, M).
    """
    with no_autocast(query):
        return widen(value) @ (key / key.shape[3]).transpose(2, 3) @ query


def totals(query: Tensor, key: Tensor) -> Tensor:
    """Return the mean over m of k_m . q_n, (B, heads, 1, N); the arguments are those of `gathered`."""
    with no_autocast(query):
        return key.mean(3)[:, :, None] @ query


def linear_contexts(query: Tensor, key: Tensor, values: Tensor, eps: float) -> Tensor:
    """Return the contexts of features for the values, a map (B, any, H, W) like these.

    Args:
        query: (B, heads, d, N), not negative and in at least float32.
        key: (B, heads, d, N), likewise.
        values: (B, any, H, W), of equal heads.
        eps: Added to the mean over m of k_m . q_n, which may be zero.
    """
    mixed = gathered(query, key, per_head(values, query.shape[1])) / (totals(query, key) + eps)
    return mixed.reshape(values.shape).to(values.dtype)


def shared_convolution(conv: nn.Conv2d, value: Tensor, heads: int) -> Tensor:
    """Return a depthwise convolution of d channels applied to each head of a map (B, heads d, H, W)."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        # NCNN has no batch to fold the heads into.
        weight, bias = conv.weight.repeat(heads, 1, 1, 1), None if conv.bias is None else conv.bias.repeat(heads)
        return F.conv2d(value, weight, bias, padding=conv.padding, groups=heads * conv.in_channels)
    y: Tensor = conv(value.reshape(-1, conv.in_channels, *value.shape[2:]))
    return y.reshape(value.shape)


def check_position_size(layer: nn.Module, position_size: Any) -> None:
    """Raise ValueError unless a size of key positions is None or a list of two positive integers."""
    pair = isinstance(position_size, (list, tuple)) and len(position_size) == AXES
    good = position_size is None or (pair and all(map(is_positive_integer, position_size)))
    check(layer, good, "position_size", position_size, "null, or height and width, such as [7, 7]")


class KeyPositions(nn.Module):
    """A learned table that is added to the keys, resized to the map.

    Args:
        channels: Channels of the keys.
        size: Height and width of the table.
    """

    def __init__(self, channels: int, size: Sequence[int]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(channels, *size))

    def forward(self, key: Tensor) -> Tensor:
        """Return the keys (B, C, H, W) plus the table."""
        table = F.interpolate(widen(self.table)[None], size=key.shape[2:], mode="bilinear")
        return key + table.to(key.dtype)
