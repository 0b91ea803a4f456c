"""CrissCross: each position attends to its own row and column.

    q = Wq x, k = Wk x (C/8 channels), v = Wv x (C channels)
    a_u = softmax over p of q_u . k_p           p: the H + W - 1 positions in the row and the column of u, unscaled
    y_u = x_u + s * sum over p of a_up v_p      s: a learned scalar, initialized to 0

It is applied `recurrence` times with the same weights. After two passes, each position has attended to all others.

Paper: Huang et al., "CCNet: Criss-Cross Attention for Semantic Segmentation", ICCV 2019, arXiv 1811.11721.
Code: https://github.com/speedinghzl/CCNet
Shapes: x (B, C, H, W), y the same; weights(x) (B, H, W, H + W): column first, then row.
Memory: HW (H + W) per pass, which fits up to 160 x 160.
Deviations: none in the formula. Logits and softmax are in float32, and the mask has the device and dtype of the input.
The paper and its training scripts apply two passes (the default); the module alone is one pass (`recurrence=1`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import WEIGHT, AttentionValues, Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer, check_positive
from yolo_attn.layers.numerics import no_autocast, widen
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.registry import register_layer

__all__ = ["CrissCross"]


@register_layer(
    family="self_attention",
    summary="lets each position attend to its row and its column, twice",
    aliases=("CCA", "CrissCrossAttention"),
    paper="CCNet: Criss-Cross Attention for Semantic Segmentation, ICCV 2019",
    year=2019,
    url="https://arxiv.org/abs/1811.11721",
    repository="https://github.com/speedinghzl/CCNet",
    cost="O(C HW (H + W))",
    identity="published: residual weight 0",
)
class CrissCross(Mixer):
    """Criss-cross attention; the identity with either initialization.

    Args:
        channels: Channels of the input.
        reduction: Channels per channel of queries and keys.
        recurrence: R, number of passes.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    identity_at_init = True

    def __init__(self, channels: int, *, reduction: float = 8, recurrence: int = 2, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        check_integer(self, recurrence=recurrence)
        hidden = hidden_width(channels, reduction)
        self.recurrence = recurrence
        self.query = nn.Conv2d(channels, hidden, 1)
        self.key = nn.Conv2d(channels, hidden, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.residual_scale = nn.Parameter(torch.zeros(1))

    def mix(self, x: Tensor) -> Tensor:
        """Return x after all passes."""
        for _ in range(self.recurrence):
            x = self._add_contexts(x, _attend(self.weights(x), self.value(x)))
        return x

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of each pass."""
        x, found = inputs[0], []
        for n in range(self.recurrence):
            reading = Reading(f"pass {n + 1}", self.value(x), partial(_attend, self.weights(x)))
            found.append(reading)
            x = self._add_contexts(x, reading.contexts(reading.values))
        return found

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the total weight of each position over the positions of its column and row, in the first pass."""
        x = inputs[0]
        height = x.shape[2]
        weights = self.weights(x)[0].float()
        by_column = weights[..., :height].sum(0).T  # (H, W): total weight of (h, w) in column w
        by_row = weights[..., height:].sum(1)  # (H, W): total weight of (h, w) in row h
        return [AttentionValues("first pass", WEIGHT, by_column + by_row)]

    def weights(self, x: Tensor) -> Tensor:
        """Return the attention of the first pass, (B, H, W, H + W): over the column, then over the row."""
        query, key = (conv(x).permute(0, 2, 3, 1) for conv in (self.query, self.key))
        height, width = x.shape[2:]
        with no_autocast(x):
            query, key = widen(query).contiguous(), widen(key).contiguous()  # (B, H, W, d)
            up, down = (t.transpose(1, 2).flatten(0, 1) for t in (query, key))  # (B W, H, d)
            index = torch.arange(height, device=x.device)
            itself = index[:, None] == index  # already in the row, so masked in the column
            mask = torch.zeros_like(itself, dtype=query.dtype).masked_fill(itself, float("-inf"))
            column = torch.baddbmm(mask, up, down.transpose(1, 2)).reshape(-1, width, height, height)
            row = query @ key.transpose(2, 3)  # (B, H, W, W)
        return torch.cat([column.transpose(1, 2), row], 3).softmax(3)

    def _add_contexts(self, x: Tensor, contexts: Tensor) -> Tensor:
        return x + self.residual_scale.to(x.dtype) * contexts.to(x.dtype)


def _attend(weights: Tensor, values: Tensor) -> Tensor:
    """Return the context of each position, (B, C, H, W)."""
    # Batched matrix products need contiguous rows; otherwise PyTorch copies each matrix separately, in the backward
    # pass too.
    value = values.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
    column, row = torch.split(weights.to(value.dtype), list(values.shape[2:]), 3)
    down = column.transpose(1, 2) @ value.transpose(1, 2)  # (B, W, H, C)
    return (row @ value + down.transpose(1, 2)).permute(0, 3, 1, 2)
