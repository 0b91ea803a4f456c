"""PAM: DANet's position attention, each position attends to all others.

    q = Wq x, k = Wk x (C / r channels), v = Wv x (C channels)
    y_i = x_i + s * sum over j of softmax_j(q_i . k_j) v_j      unscaled; s: a learned scalar, initialized to 0

Paper: Fu et al., "Dual Attention Network for Scene Segmentation", CVPR 2019, arXiv 1809.02983.
Code: https://github.com/junfu1115/DANet
Shapes: x (B, C, H, W), y the same.
Memory: no N x N weights beyond 16 MiB. Time grows with (HW)^2: for P5, or P4.
Deviations: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import Reading
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_positive
from yolo_attn.layers.self_attention._tokens import attend, to_map, to_tokens
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.registry import register_layer

__all__ = ["PAM"]


@register_layer(
    family="self_attention",
    summary="DANet's position attention: each position attends to all others",
    aliases=("PositionAttention", "PositionAttentionModule"),
    paper="Dual Attention Network for Scene Segmentation, CVPR 2019",
    year=2019,
    url="https://arxiv.org/abs/1809.02983",
    repository="https://github.com/junfu1115/DANet",
    cost="O(C (HW)^2)",
    identity="published: residual weight 0",
)
class PAM(Mixer):
    """Position attention; the identity with either initialization.

    Args:
        channels: Channels of the input.
        reduction: r, channels per channel of queries and keys; at least 1.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    identity_at_init = True

    def __init__(self, channels: int, *, reduction: float = 8, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_positive(self, reduction=reduction)
        check(self, reduction >= 1, "reduction", reduction, "a number of at least 1")
        hidden = hidden_width(channels, reduction)
        self.query = nn.Conv2d(channels, hidden, 1)
        self.key = nn.Conv2d(channels, hidden, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.residual_scale = nn.Parameter(torch.zeros(1))

    def mix(self, x: Tensor) -> Tensor:
        """Return x plus the scaled output of the attention."""
        return x + self.residual_scale.to(x.dtype) * self._attend(x, self.value(x)).to(x.dtype)

    def readings(self, inputs: Sequence[Tensor]) -> list[Reading]:
        """Return the attention of all positions to all others."""
        x = inputs[0]
        return [Reading("", self.value(x), partial(self._attend, x))]

    def _attend(self, x: Tensor, values: Tensor) -> Tensor:
        """Return the context of each position of x, (B, C, H, W), for values of this shape."""
        # The fused kernels require queries and keys as wide as the values: more products, but no N x N weights.
        missing = self.value.out_channels - self.query.out_channels
        query, key = (F.pad(to_tokens(conv(x)), (0, missing)) for conv in (self.query, self.key))
        value = to_tokens(values).contiguous()
        y = attend(query.contiguous()[:, None], key.contiguous()[:, None], value[:, None], scale=1.0)
        return to_map(y[:, 0], x)
